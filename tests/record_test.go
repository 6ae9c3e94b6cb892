package tests

import "github.com/beeline-rt/beeline/contracts"

// recordOf is the Redis key of a client of the fleet's cluster.
func recordOf(c contracts.ClientID) string { return string(contracts.RecordKey("a", c.Address())) }
