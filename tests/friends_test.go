package tests

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// watch has a client watch others, and returns which of them are online.
func watch(t *testing.T, c *fleet.Client, others ...contracts.ClientID) []contracts.ClientID {
	t.Helper()
	c.Raw(string(contracts.AppendWatch(nil, 11, contracts.OpWatch, others)))
	e := c.Next()
	if e.OK == nil || *e.ID != 11 {
		t.Fatalf("%s watches %s: got %+v", c.Name, others, e)
	}
	slices.Sort(e.OK.Online)
	return e.OK.Online
}

func expectPresence(t *testing.T, c *fleet.Client, who contracts.ClientID, online bool) {
	t.Helper()
	if e := c.Next(); e.Presence == nil || e.Presence.Client != who || e.Presence.Online != online {
		t.Fatalf("%s: got %+v, not %s online: %v", c.Name, e, who, online)
	}
}

func linger(d time.Duration) fleet.Option {
	return fleet.Configure(func(c *node.Config) { c.Edge.Linger = d })
}

func TestFriendsSeeEachOtherComeAndGo(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, linger(200*time.Millisecond))
	carol := f.Dial(0, "carol")
	bob := f.Dial(1, "bob")
	if got := watch(t, carol, "bob", "dave"); !slices.Equal(got, []contracts.ClientID{"bob"}) {
		t.Fatalf("online at first: %v", got)
	}
	dave := f.Dial(2, "dave")
	expectPresence(t, carol, "dave", true)
	second := f.Dial(2, "bob") // a second session is no news
	bob.Leave()                // nor is the end of one of two
	dave.Leave()
	expectPresence(t, carol, "dave", false)
	second.Leave()
	expectPresence(t, carol, "bob", false)
	here := f.Dial(0, "bob") // on the watcher's own node
	expectPresence(t, carol, "bob", true)
	here.Leave()
	expectPresence(t, carol, "bob", false)
	carol.Raw(string(contracts.AppendWatch(nil, 12, contracts.OpUnwatch, []contracts.ClientID{"bob", "dave"})))
	if e := carol.Next(); e.OK == nil {
		t.Fatalf("unwatch: %+v", e)
	}
	f.Dial(1, "bob")
	if e, err := carol.TryNext(500 * time.Millisecond); err == nil {
		t.Errorf("after unwatch: %+v", e)
	}
}

func TestReconnectWithinTheLingerIsNoNews(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, linger(10*time.Second))
	carol := f.Dial(0, "carol")
	bob := f.Dial(1, "bob")
	watch(t, carol, "bob")
	for i := range 20 {
		bob.Leave()
		bob = f.Dial(1+i%2, "bob")
	}
	if e, err := carol.TryNext(time.Second); err == nil {
		t.Errorf("got %+v", e)
	}
}

func TestNoChangeOfPresenceIsMissed(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, linger(0))
	carol := f.Dial(0, "carol")
	online := len(watch(t, carol, "bob")) == 1
	for range 50 {
		bob := f.Dial(1, "bob")
		expectPresence(t, carol, "bob", !online)
		bob.Leave()
		expectPresence(t, carol, "bob", online)
	}
}

func TestChangeCostsOneNodeMessagePerWatchingNode(t *testing.T) {
	t.Parallel()
	const watchers = 40
	f := fleet.New(t, 2, linger(0))
	var all []*fleet.Client
	for i := range watchers {
		c := f.Dial(0, contracts.ClientID(fmt.Sprint("w", i)))
		watch(t, c, "bob")
		all = append(all, c)
	}
	before := f.Nodes[1].Value("beeline_bus_sent_total")
	f.Dial(1, "bob")
	for _, c := range all {
		expectPresence(t, c, "bob", true)
	}
	if n := f.Nodes[1].Value("beeline_bus_sent_total") - before; n != 1 {
		t.Errorf("one change for %d watchers on one node cost %v node messages", watchers, n)
	}
}

func TestDeadNodeTakesItsClientsOfflineForTheirFriends(t *testing.T) {
	t.Parallel()
	edges := fleet.RunEdges(t, 2, "--allow-watch", "*")
	connect := func(i int, name contracts.ClientID) *fleet.Client {
		c, _, err := fleet.ConnectURL(t, edges.URLs[i], nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Login(name)
		return c
	}
	carol := connect(0, "carol")
	connect(1, "bob")
	connect(1, "dave")
	if got := watch(t, carol, "bob", "dave"); len(got) != 2 {
		t.Fatalf("online at first: %v", got)
	}
	edges.Procs[1].Kill()
	killed := time.Now()
	for range 2 {
		if e := carol.Next(); e.Presence == nil || e.Presence.Online {
			t.Fatalf("got %+v", e)
		}
	}
	d := time.Since(killed)
	t.Logf("offline after %v", d)
	if d > 6*time.Second+500*time.Millisecond {
		t.Errorf("the dead node's clients were offline after %v", d)
	}
}
