package tests

import (
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

var hgetalls = regexp.MustCompile(`cmdstat_hgetall:calls=(\d+)`)

// reads is how many records Redis says were read, in scripts too.
func reads(t *testing.T, r *redis.Client) int {
	t.Helper()
	info, err := r.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	m := hgetalls.FindStringSubmatch(info)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

func TestSteadyTrafficAsksTheDirectoryNothing(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	alice, bob := f.Dial(0, "alice"), f.Dial(1, "bob")
	exchange := func(n int) {
		for i := range n {
			data := fmt.Sprint(i)
			if got := alice.Send("bob", data); got != "delivered" {
				t.Fatal(got)
			}
			bob.Expect("alice", data)
			if got := bob.Send("alice", data); got != "delivered" {
				t.Fatal(got)
			}
			alice.Expect("bob", data)
		}
	}
	exchange(1)
	client := f.Redis.Client(t)
	before := reads(t, client)
	if before == 0 {
		t.Fatal("Redis was never asked: the test shows nothing")
	}
	exchange(1000)
	if n := reads(t, client) - before; n != 0 {
		t.Errorf("2000 messages between the same two cost %d lookups", n)
	}
}

func TestSessionMissesNothingAfterItsReady(t *testing.T) {
	t.Parallel()
	rounds := sized(300, 1000)
	f := fleet.New(t, 3)
	alice, bob := f.Dial(0, "alice"), f.Dial(1, "bob")
	for round := range rounds {
		second := f.Dial(1+round%2, "bob") // where bob is already, and where he is not
		data := fmt.Sprint(round)
		if got := alice.Send("bob", data); got != "delivered" {
			t.Fatalf("round %d: %s", round, got)
		}
		bob.Expect("alice", data)
		second.Expect("alice", data)
		if got := alice.Send("bob", `"again"`); got != "delivered" { // by the remembered route
			t.Fatalf("round %d: %s", round, got)
		}
		bob.Expect("alice", `"again"`)
		second.Expect("alice", `"again"`)
		second.Close()
	}
	if hits := f.Nodes[0].Value("beeline_edge_route_hits_total"); hits == 0 {
		t.Error("no route was remembered: the test shows nothing")
	}
}

func TestAbsenceIsRememberedAndEndsWithReady(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	alice := f.Dial(0, "alice")
	client := f.Redis.Client(t)
	if got := alice.Send("bob", `1`); got != "offline" {
		t.Fatal(got)
	}
	before := reads(t, client)
	for range 100 {
		if got := alice.Send("bob", `1`); got != "offline" {
			t.Fatal(got)
		}
	}
	if n := reads(t, client) - before; n != 0 {
		t.Errorf("100 messages to somebody who is known to be away cost %d lookups", n)
	}
	for range 100 {
		bob := f.Dial(1, "bob")
		if got := alice.Send("bob", `2`); got != "delivered" {
			t.Fatal(got)
		}
		bob.Expect("alice", `2`)
		bob.Leave()
		fleet.Eventually(t, "bob is known to be away", func() bool { return alice.Send("bob", `3`) == "offline" })
	}
}

// hop moves a client from node to node for a while, and counts how often it was shown each message.
func hop(t *testing.T, f *fleet.Fleet, name contracts.ClientID, stay, total time.Duration) map[string]int {
	t.Helper()
	shown := map[string]int{}
	end := time.Now().Add(total)
	for i := 0; time.Now().Before(end); i++ {
		c := f.Dial(i%len(f.Nodes), name)
		move := time.Now().Add(stay)
		for time.Now().Before(move) {
			if e, err := c.TryNext(time.Until(move)); err == nil && e.Msg != nil {
				shown[string(e.Msg.Data)]++
			}
		}
		for _, e := range c.Leave() {
			if e.Msg != nil {
				shown[string(e.Msg.Data)]++
			}
		}
	}
	return shown
}

func TestHoppingClientIsShownOnceWhatWasDelivered(t *testing.T) {
	t.Parallel()
	const stay, perSecond = 100 * time.Millisecond, 500
	total := sized(4*time.Second, time.Minute)
	f := fleet.New(t, 3, fleet.Configure(func(c *node.Config) { c.Edge.InFlight = 1 << 16 }))
	alice := f.Dial(0, "alice")
	outcomes := make(map[uint64]string)
	var work sync.WaitGroup
	stop := make(chan struct{})
	sent := make(chan uint64, 1)
	work.Go(func() {
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		last := uint64(0)
		for {
			select {
			case <-stop:
				sent <- last
				return
			case <-tick.C:
				last = alice.Post("hopper", fmt.Sprint(last+1))
			}
		}
	})
	shown := hop(t, f, "hopper", stay, total)
	close(stop)
	last := <-sent
	for range last {
		e := alice.Next()
		outcomes[*e.ID] = fleet.Outcome(e)
	}
	work.Wait()
	counts := map[string]int{}
	for id := uint64(1); id <= last; id++ {
		counts[outcomes[id]]++
		n := shown[fmt.Sprint(id)]
		switch o := outcomes[id]; {
		case o == "delivered" && n != 1:
			t.Errorf("message %d was answered delivered, and shown %d times", id, n)
		case o == "offline" && n != 0:
			t.Errorf("message %d was answered offline, and shown %d times", id, n)
		case n > 1:
			t.Errorf("message %d was shown %d times", id, n)
		}
	}
	chased := f.Nodes[0].Value("beeline_edge_chased_total")
	t.Logf("%d messages: %v; %v chased", last, counts, chased)
	if counts["delivered"] < int(last)/2 {
		t.Error("less than half arrived")
	}
}
