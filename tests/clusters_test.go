package tests

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// Two clusters, each with NATS and Redis of its own, whose NATS servers are linked.

func mustDeliver(t *testing.T, from, to *fleet.Client, data string) {
	t.Helper()
	if got := from.Send(to.Name, data); got != "delivered" {
		t.Fatalf("%s to %s: %s", from.Name, to.Name, got)
	}
	to.Expect(from.Name, data)
}

func TestClientsOfTwoClustersTalk(t *testing.T) {
	t.Parallel()
	a, b, _ := fleet.Pair(t, 2)
	alice, bob := a.Dial(0, "alice"), b.Dial(1, "bob")
	for i := range 20 {
		mustDeliver(t, alice, bob, fmt.Sprint(i))
		mustDeliver(t, bob, alice, fmt.Sprint(i))
	}
	if got := alice.Send("nobody", "1"); got != "offline" {
		t.Error(got)
	}
	if n := a.Nodes[0].Value("beeline_edge_lookups_total"); n > 4 {
		t.Errorf("%v lookups for messages to two clients", n)
	}
	// Whoever has sessions in both clusters gets every message on each.
	second := a.Dial(1, "bob")
	if got := alice.Send("bob", `"both"`); got != "delivered" {
		t.Fatal(got)
	}
	bob.Expect("alice", `"both"`)
	second.Expect("alice", `"both"`)
	bob.Leave()
	mustDeliver(t, alice, second, `"one"`)
	second.Leave()
	if got := alice.Send("bob", `"none"`); got != "offline" {
		t.Error(got)
	}
}

// From `ready` on, a message from the other cluster reaches the session, wherever the client was before.
func TestNoMessageFromTheOtherClusterIsMissedAfterReady(t *testing.T) {
	t.Parallel()
	a, b, _ := fleet.Pair(t, 2)
	alice := a.Dial(0, "alice")
	if got := alice.Send("bob", `"early"`); got != "offline" { // which is remembered
		t.Fatal(got)
	}
	homes := []*fleet.Fleet{b, a}
	for i := range sized(40, 400) {
		bob := homes[i%2].Dial(i/2%2, "bob")
		mustDeliver(t, alice, bob, fmt.Sprint(i))
		bob.Leave()
	}
}

func TestGroupsSpanClusters(t *testing.T) {
	t.Parallel()
	a, b, _ := fleet.Pair(t, 2)
	var members []*fleet.Client
	for i, f := range []*fleet.Fleet{a, b, b} {
		c := f.Dial(i%2, contracts.ClientID(fmt.Sprint("m", i)))
		c.Raw(string(contracts.AppendGroup(nil, 5, contracts.OpJoin, "room")))
		if e := c.Next(); e.OK == nil {
			t.Fatalf("%+v", e)
		}
		members = append(members, c)
	}
	alice := a.Dial(1, "alice")
	alice.Raw(string(contracts.AppendPublish(nil, 6, "room", []byte(`"hi"`))))
	if e := alice.Next(); e.OK == nil || e.OK.Status != "sent" || e.OK.Nodes != 3 {
		t.Errorf("got %+v, not sent to 3 nodes", e)
	}
	for _, m := range members {
		m.Expect("alice", `"hi"`)
	}
	alice.Raw(string(contracts.AppendMembers(nil, 7, contracts.MembersQuery{Group: "room", Limit: 10})))
	if e := alice.Next(); e.OK == nil || !slices.Equal(e.OK.Members, []contracts.ClientID{"m0", "m1", "m2"}) {
		t.Errorf("members: %+v", e)
	}
}

func TestFriendsAreSeenAcrossClusters(t *testing.T) {
	t.Parallel()
	a, b, _ := fleet.Pair(t, 2, linger(200*time.Millisecond))
	carol := a.Dial(0, "carol")
	bob := b.Dial(0, "bob")
	if got := watch(t, carol, "bob", "dave"); !slices.Equal(got, []contracts.ClientID{"bob"}) {
		t.Fatalf("online at first: %v", got)
	}
	dave := b.Dial(1, "dave")
	expectPresence(t, carol, "dave", true)
	bob.Leave()
	expectPresence(t, carol, "bob", false)
	dave.Leave()
	expectPresence(t, carol, "dave", false)
	b.Dial(0, "bob")
	expectPresence(t, carol, "bob", true)
	b.Nodes[0].NATSLink.Cut() // it dies, as far as anybody else can see
	b.Nodes[0].RedisLink.Cut()
	expectPresence(t, carol, "bob", false)
}

func TestOneSessionPerClientHoldsAcrossClusters(t *testing.T) {
	t.Parallel()
	a, b, link := fleet.Pair(t, 1, fleet.Configure(func(c *node.Config) { c.Edge.Sessions = edge.SessionsSingle }))
	first := a.Dial(0, "bob")
	second := b.Dial(0, "bob")
	if code := first.Closed(); code != int(contracts.CloseReplaced) {
		t.Errorf("the older session ended with %d", code)
	}
	apart(t, a, b, link.Cut)
	<-time.After(20 * time.Millisecond) // the younger one is that which began later, in milliseconds
	third := a.Dial(0, "bob")
	mustDeliver(t, a.Dial(0, "alice"), third, "1")
	link.Restore()
	if code := second.Closed(); code != int(contracts.CloseReplaced) {
		t.Errorf("after the split, the older session ended with %d", code)
	}
	eve := b.Dial(0, "eve")
	fleet.Eventually(t, "bob is reached", func() bool { return eve.Send("bob", "2") == "delivered" })
	third.Expect("eve", "2")
}

func TestOneSessionPerClientHoldsAfterRedisWasAway(t *testing.T) {
	t.Parallel()
	a, b, _ := fleet.Pair(t, 1, shortRedis, fleet.Configure(func(c *node.Config) { c.Edge.Sessions = edge.SessionsSingle }))
	first := a.Dial(0, "bob")
	a.Nodes[0].RedisLink.Cut()
	<-time.After(20 * time.Millisecond) // the younger one is that which began later, in milliseconds
	second := b.Dial(0, "bob")          // cannot be told of the first
	a.Nodes[0].RedisLink.Restore()
	if code := first.Closed(); code != int(contracts.CloseReplaced) {
		t.Errorf("the older session ended with %d", code)
	}
	mustDeliver(t, b.Dial(0, "alice"), second, "1")
}

// A cluster goes on as ever while the Redis of another one is away.
func TestRedisOfAnotherClusterIsNotMissed(t *testing.T) {
	t.Parallel()
	a, b, _ := fleet.Pair(t, 2, shortRedis)
	alice, bob := b.Dial(0, "alice"), b.Dial(1, "bob")
	ann := a.Dial(0, "ann")
	for _, n := range a.Nodes {
		n.RedisLink.Cut()
	}
	fleet.Eventually(t, "the other cluster's Redis is away", func() bool {
		ann.Send("nobody", "1")
		return a.Nodes[0].Value("beeline_edge_directory_errors_total") > 0
	})
	before := b.Nodes[0].Value("beeline_edge_lookups_total")
	began := time.Now()
	for i := range 200 {
		mustDeliver(t, alice, bob, fmt.Sprint(i))
	}
	if n, most := b.Nodes[0].Value("beeline_edge_lookups_total")-before, 3+time.Since(began).Seconds(); n > most {
		t.Errorf("%v lookups for messages to one client at home, in %v", n, time.Since(began))
	}
	mustDeliver(t, alice, ann, "1") // her node is asked
	for i := range 10 {
		name := contracts.ClientID(fmt.Sprint("away", i))
		if got := watch(t, bob, name, "alice"); !slices.Equal(got, []contracts.ClientID{"alice"}) {
			t.Errorf("online: %v", got)
		}
	}
	late := b.Dial(0, "away3")
	expectPresence(t, bob, "away3", true)
	late.Leave()
	if got := watch(t, bob, "ann"); len(got) == 0 { // that nobody knows, until Redis is back
		for _, n := range a.Nodes {
			n.RedisLink.Restore()
		}
		for e := bob.Next(); e.Presence == nil || e.Presence.Client != "ann" || !e.Presence.Online; e = bob.Next() {
		}
	}
}

// apart breaks the link, and returns when each cluster has noticed.
func apart(t *testing.T, a, b *fleet.Fleet, break_ func()) {
	t.Helper()
	break_()
	fleet.Eventually(t, "the other cluster cannot be reached", func() bool { return noticed(a, b) })
}

// noticed tells whether every node knows that the other cluster cannot be reached.
func noticed(a, b *fleet.Fleet) bool {
	return !slices.ContainsFunc(slices.Concat(a.Nodes, b.Nodes), func(n *fleet.Node) bool { return n.Value("beeline_across_reachable") != 0 })
}

func TestSplitClustersServeTheirOwnAndHeal(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func(*brokertest.Link){
		"the link is cut":    (*brokertest.Link).Cut,
		"the link is silent": (*brokertest.Link).Freeze,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, link := fleet.Pair(t, 2, linger(200*time.Millisecond))
			alice, ann := a.Dial(0, "alice"), a.Dial(1, "ann")
			bob, ben := b.Dial(0, "bob"), b.Dial(1, "ben")
			mustDeliver(t, alice, bob, `"before"`)
			mustDeliver(t, ben, ann, `"before"`)
			amy := a.Dial(1, "amy")
			if got := watch(t, amy, "bob"); len(got) != 1 {
				t.Fatal(got)
			}
			how(link)
			// While it is not noticed yet, and after: each half serves its own; what goes across is answered, soon, and honestly.
			broken := time.Now()
			for time.Since(broken) < fleet.Patience && (time.Since(broken) < 2*time.Second || !noticed(a, b)) {
				began := time.Now()
				if got := alice.Send("bob", `"across"`); got == "delivered" {
					t.Fatal("delivered over a broken link")
				}
				if took := time.Since(began); took > fleet.Patience/3 {
					t.Errorf("an answer took %v", took)
				}
				mustDeliver(t, alice, ann, `"home"`)
				mustDeliver(t, bob, ben, `"home"`)
			}
			t.Logf("noticed after %v", time.Since(broken))
			began := time.Now()
			if got := alice.Send("bob", `"across"`); got != "offline" {
				t.Errorf("after the split was noticed: %s", got)
			}
			t.Logf("offline after %v", time.Since(began))
			expectPresence(t, amy, "bob", false)
			// Meanwhile bob moves and zoe comes, of which the other half cannot hear.
			if got := alice.Send("zoe", `"across"`); got != "offline" {
				t.Error(got)
			}
			bob.Leave()
			bob, zoe := b.Dial(1, "bob"), b.Dial(0, "zoe")
			link.Restore()
			began = time.Now()
			expectPresence(t, amy, "bob", true)
			for _, to := range []*fleet.Client{bob, zoe} {
				fleet.Eventually(t, string(to.Name)+" is reached", func() bool { return alice.Send(to.Name, `"after"`) == "delivered" })
			}
			t.Logf("healed after %v", time.Since(began))
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("healed after %v", took)
			}
			for _, to := range []*fleet.Client{bob, zoe} {
				for e := to.Next(); string(e.Msg.Data) != `"after"`; e = to.Next() { // what was unknown may come late
					if string(e.Msg.Data) != `"across"` {
						t.Fatalf("%s got %s", to.Name, e.Msg.Data)
					}
				}
			}
		})
	}
}

// A change of which another cluster could not be told, because the link was down for a moment that it did not notice, is
// not forgotten.
func TestChangeDuringAMomentWithoutLinkIsToldLater(t *testing.T) {
	t.Parallel()
	a, b, link := fleet.Pair(t, 1)
	alice := a.Dial(0, "alice")
	if got := alice.Send("bob", `"early"`); got != "offline" {
		t.Fatal(got)
	}
	link.Freeze()
	bob := b.Dial(0, "bob") // ready, although the other cluster does not answer
	link.Restore()
	fleet.Eventually(t, "bob is reached", func() bool { return alice.Send("bob", "1") == "delivered" })
	bob.Expect("alice", "1")
}
