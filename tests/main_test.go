// Package tests holds the promises of the whole system, one file each, kept by production nodes.
package tests

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/tests/fleet"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		fleet.RemoveBinary()
		os.Exit(code)
	}))
}
