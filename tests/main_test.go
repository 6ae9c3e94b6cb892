// Package tests holds the promises of the whole system, one file each, kept by production nodes.
package tests

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
