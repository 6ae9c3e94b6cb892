package tests

import (
	"fmt"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// shortRedis makes nodes notice soon that Redis is away.
var shortRedis = fleet.Configure(func(c *node.Config) { c.Redis.Timeout = 300 * time.Millisecond })

// noFalseOffline sends to everybody, known or not, until ok is true, and fails when somebody who is there is said to be
// offline.
func noFalseOffline(t *testing.T, from *fleet.Client, all []*fleet.Client, ok func() bool) (sent int) {
	t.Helper()
	end := time.Now().Add(fleet.Patience)
	for !ok() {
		if time.Now().After(end) {
			t.Fatal("it takes too long")
		}
		for _, c := range all {
			sent++
			switch got := from.Send(c.Name, `1`); got {
			case "delivered":
				c.Expect(from.Name, `1`)
			case "offline":
				t.Fatalf("%s is connected, and was said to be offline", c.Name)
			}
		}
	}
	return sent
}

func crowd(t *testing.T, f *fleet.Fleet, n int) (all []*fleet.Client) {
	t.Helper()
	for _, n := range f.Nodes {
		fleet.Eventually(t, "the nodes know each other", func() bool { return n.Value("beeline_edge_nodes") == float64(len(f.Nodes)) })
	}
	for i := range n {
		all = append(all, f.Dial(i%len(f.Nodes), contracts.ClientID(fmt.Sprint("c", i))))
	}
	return all
}

func TestEmptiedRedisIsFilledAgainAndNobodyIsOffline(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, shortRedis)
	alice, all := f.Dial(0, "alice"), crowd(t, f, 30)
	client := f.Redis.Client(t)
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	recorded := func() bool {
		for _, c := range all {
			if n, err := client.HLen(t.Context(), recordOf(c.Name)).Result(); err != nil || n != 1 {
				return false
			}
		}
		return true
	}
	if recorded() {
		t.Fatal("Redis was not emptied")
	}
	noFalseOffline(t, alice, all, recorded)
	start := time.Now()
	noFalseOffline(t, alice, all, func() bool { return time.Since(start) > time.Second })
}

func TestRedisKilledAndRestartedEmpty(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, shortRedis)
	alice, all := f.Dial(0, "alice"), crowd(t, f, 12)
	if got := alice.Send("c0", `0`); got != "delivered" { // one way is known, the others are not
		t.Fatal(got)
	}
	all[0].Expect("alice", `0`)
	f.Redis.Kill()
	start := time.Now()
	sent := noFalseOffline(t, alice, all, func() bool { return time.Since(start) > 2*time.Second })
	t.Logf("%d messages without Redis", sent)
	if f.Nodes[0].Value("beeline_edge_probes_total") == 0 {
		t.Error("the nodes did not ask each other: the test shows nothing")
	}
	// Who connects now is found, and recorded when Redis is back.
	late := f.Dial(2, "late")
	if got := alice.Send("late", `1`); got != "delivered" {
		t.Error("somebody who connected without Redis:", got)
	}
	late.Expect("alice", `1`)
	if got := alice.Send("nobody", `1`); got != "offline" {
		t.Error("somebody who is nowhere:", got)
	}
	f.Redis.Restart(t)
	client := f.Redis.Client(t)
	noFalseOffline(t, alice, all, func() bool {
		for _, c := range append(all, late) {
			if n, err := client.HLen(t.Context(), recordOf(c.Name)).Result(); err != nil || n != 1 {
				return false
			}
		}
		return true
	})
}

// The leases are there again, and so are most entries: only the server's origin tells that something is missing.
func TestRedisThatComesBackWithAnOldSnapshotIsFilledAgain(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, shortRedis)
	alice, all := f.Dial(0, "alice"), crowd(t, f, 12)
	client := f.Redis.Client(t)
	if err := client.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		all = append(all, f.Dial(i%3, contracts.ClientID(fmt.Sprint("late", i))))
	}
	f.Redis.Restart(t)
	for _, n := range f.Nodes {
		if epoch, err := client.Get(t.Context(), string(contracts.LeaseKey("a", n.ID))).Result(); err != nil || epoch == "" {
			t.Fatalf("the lease of %s is %q: the test shows nothing (%v)", n.ID, epoch, err)
		}
	}
	if n, err := client.HLen(t.Context(), recordOf("late0")).Result(); err != nil || n != 0 {
		t.Fatalf("nothing was lost: %d, %v", n, err)
	}
	back := time.Now()
	noFalseOffline(t, alice, all, func() bool {
		for _, c := range all {
			if n, err := client.HLen(t.Context(), recordOf(c.Name)).Result(); err != nil || n != 1 {
				return false
			}
		}
		return true
	})
	t.Logf("filled again after %v", time.Since(back))
}

func TestHungRedisDoesNotStopKnownTraffic(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, shortRedis)
	alice, bob := f.Dial(0, "alice"), f.Dial(1, "bob")
	if got := alice.Send("bob", `0`); got != "delivered" {
		t.Fatal(got)
	}
	bob.Expect("alice", `0`)
	f.Redis.Pause(t)
	slowest := time.Duration(0)
	for start := time.Now(); time.Since(start) < 2*time.Second; {
		sent := time.Now()
		if got := alice.Send("bob", `1`); got != "delivered" {
			t.Fatal(got)
		}
		slowest = max(slowest, time.Since(sent))
		bob.Expect("alice", `1`)
	}
	f.Redis.Resume(t)
	t.Logf("slowest %v", slowest)
	if slowest > time.Second {
		t.Errorf("with Redis hung, a message to a known recipient took %v", slowest)
	}
}

func TestSessionThatConnectsAfterAWipeIsFoundByThoseWhoKnewItAway(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, shortRedis)
	alice := f.Dial(0, "alice")
	crowd(t, f, 1)
	client := f.Redis.Client(t)
	for round := range 5 {
		name := contracts.ClientID(fmt.Sprint("bob-", round))
		if got := alice.Send(name, `1`); got != "offline" && got != "unavailable" {
			t.Fatal(got)
		}
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		bob := f.Dial(1+round%2, name) // the watch of alice's node is lost
		if got := alice.Send(name, `2`); got != "delivered" {
			t.Fatalf("round %d: %s", round, got)
		}
		bob.Expect("alice", `2`)
	}
}

func TestSessionOfAnOutageIsFoundTheMomentItIsOver(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, shortRedis)
	alice := f.Dial(0, "alice")
	crowd(t, f, 2)
	for round := range 3 {
		failures := f.Nodes[1].Value("beeline_edge_directory_errors_total")
		for _, n := range f.Nodes {
			n.RedisLink.Cut()
		}
		late := f.Dial(1, contracts.ClientID(fmt.Sprint("late", round)))
		if f.Nodes[1].Value("beeline_edge_directory_errors_total") == failures {
			t.Fatal("the session was recorded: the test shows nothing")
		}
		for _, n := range f.Nodes {
			n.RedisLink.Restore()
		}
		recorded := func() bool {
			n, err := f.Redis.Client(t).HLen(t.Context(), recordOf(late.Name)).Result()
			return err == nil && n == 1
		}
		noFalseOffline(t, alice, []*fleet.Client{late}, recorded)
	}
}

func TestOneSessionPerClientHoldsAfterAnOutage(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, shortRedis, fleet.Configure(func(c *node.Config) { c.Edge.Sessions = edge.SessionsSingle }))
	crowd(t, f, 2)
	f.Redis.Kill()
	older := f.Dial(0, "bob")
	newer := f.Dial(1, "bob")
	f.Redis.Restart(t)
	if code := older.Closed(); code != int(contracts.CloseReplaced) {
		t.Errorf("the older session was closed with %d", code)
	}
	alice := f.Dial(0, "alice")
	fleet.Eventually(t, "the newer one is there", func() bool { return alice.Send("bob", `1`) == "delivered" })
	newer.Expect("alice", `1`)
}
