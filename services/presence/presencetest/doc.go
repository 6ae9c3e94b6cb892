// Package presencetest holds what tests of the directory need: a real Redis and a real Redis Cluster, started for one
// test and ended with it, a gate that cuts a directory off, and the conformance suite [Run], which is the directory's
// promises as tests.
//
// It is not a fake directory: with servers that start in milliseconds there is no reason for one.
package presencetest
