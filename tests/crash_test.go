package tests

import (
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/tests/fleet"
)

func TestKilledEdgeAnswersAtOnceAndItsClientsAreOfflineWithinSixSeconds(t *testing.T) {
	t.Parallel()
	edges := fleet.RunEdges(t, 2)
	connect := func(i int, name contracts.ClientID) *fleet.Client {
		c, _, err := fleet.ConnectURL(t, edges.URLs[i], nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Login(name)
		return c
	}
	alice, bob := connect(0, "alice"), connect(1, "bob")
	if got := alice.Send("bob", `1`); got != "delivered" {
		t.Fatal(got)
	}
	bob.Expect("alice", `1`)

	// A process that only looks up, and never sweeps.
	look, err := presence.Open(t.Context(), presence.Config{Cluster: "a", Redis: edges.Redis.Config(), SweepInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = look.Close(t.Context()) }()

	edges.Procs[1].Kill()
	killed := time.Now()
	slowest := time.Duration(0)
	for time.Since(killed) < 2*time.Second { // its lease still runs
		start := time.Now()
		if got := alice.Send("bob", `2`); got != "offline" && got != "unknown" {
			t.Fatal(got)
		}
		slowest = max(slowest, time.Since(start))
	}
	if slowest > 300*time.Millisecond {
		t.Errorf("a send to a client of the killed edge was answered after %v", slowest)
	}
	if at, err := look.Lookup(t.Context(), []contracts.Address{contracts.ClientID("bob").Address()}); err != nil || len(at[0]) != 1 {
		t.Errorf("while the lease runs bob should count, but the directory says %v, %v", at, err)
	}
	fleet.Eventually(t, "the directory says that bob is offline", func() bool {
		at, err := look.Lookup(t.Context(), []contracts.Address{contracts.ClientID("bob").Address()})
		return err == nil && len(at[0]) == 0
	})
	if d := time.Since(killed); d > 6*time.Second {
		t.Errorf("bob was offline only %v after the kill", d)
	}
	t.Logf("slowest answer %v, offline after %v", slowest, time.Since(killed))
}
