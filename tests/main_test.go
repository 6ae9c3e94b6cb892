// Package tests holds the promises of the whole system, one file each, kept by production nodes.
package tests

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/tests/fleet"
)

// prove has the tests that can be made longer and larger run at full size: see ./task prove.
var prove = flag.Bool("prove", false, "run the proofs at full size: some minutes, and up to 50,000 clients")

// sized returns full when the proofs are to run, and else what is enough to see a fault at each change.
func sized[T any](small, full T) T {
	if *prove {
		return full
	}
	return small
}

func TestMain(m *testing.M) {
	if crowd, ok := os.LookupEnv(fleet.CrowdVariable); ok {
		fmt.Fprintln(os.Stderr, fleet.BeCrowd(context.Background(), crowd, os.Stdout))
		os.Exit(1)
	}
	if nats, ok := os.LookupEnv(fleet.NATSVariable); ok {
		if err := fleet.BeNATS(nats, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// A server of net/http lingers for half a second over a request that it could not read, and does not wait for that.
	lingering := goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")
	goleak.VerifyTestMain(m, lingering, goleak.Cleanup(func(code int) {
		fleet.RemoveBinary()
		os.Exit(code)
	}))
}
