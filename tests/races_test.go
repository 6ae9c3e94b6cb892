package tests

import (
	"testing"

	"github.com/beeline-rt/beeline/tests/fleet"
)

func TestReconnectBeatsDisconnectEveryTime(t *testing.T) {
	t.Parallel()
	const rounds = 1000
	f := fleet.New(t, 2)
	alice := f.Dial(0, "alice")
	old := f.Dial(0, "bob")
	for round := range rounds {
		left := make(chan struct{})
		go func() {
			defer close(left)
			old.Close()
		}()
		bob := f.Dial((round+1)%2, "bob")
		<-left
		if got := alice.Send("bob", `1`); got != "delivered" {
			t.Fatalf("round %d: %s", round, got)
		}
		bob.Expect("alice", `1`)
		old = bob
	}
	fleet.Eventually(t, "bob has one session in the directory", func() bool {
		n, err := f.Redis.Client(t).HLen(t.Context(), recordOf("bob")).Result()
		return err == nil && n == 1
	})
}
