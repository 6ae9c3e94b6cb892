package presencetest

import (
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
)

// Settle is [presence.Settle], for a test that does not care for the first seconds of a new Redis.
func Settle(tb testing.TB, r presence.Redis, cluster contracts.ClusterName) {
	tb.Helper()
	if err := presence.Settle(tb.Context(), r, cluster); err != nil {
		tb.Fatal(err)
	}
}
