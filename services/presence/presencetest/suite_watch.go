package presencetest

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
)

var watchPromises = map[string]func(*world){
	"WhoLookedUpIsToldOfChanges":             told,
	"AWatchEndsAfterItsTime":                 watchEnds,
	"AGroupIsAnAddressOfItsOwn":              group,
	"WhoReadsTheOldIsToldOfTheNew":           noneIsMissed,
	"ManyAddressesAreWatchedInOnePipeline":   watchMany,
	"AWatchOfAnAddressThatNobodyHoldsCounts": watchAbsent,
}

// told connects or disconnects a session, and returns who is to be told.
func (n *node) told(connect bool, client contracts.ClientID, s contracts.SessionID) (watchers []contracts.NodeID) {
	n.w.Helper()
	var err error
	if connect {
		_, watchers, err = n.Connect(n.w.Context(), client.Address(), contracts.Entry{Session: s})
	} else {
		watchers, err = n.Disconnect(n.w.Context(), client.Address(), s)
	}
	if err != nil {
		n.w.Errorf("%s changes %q: %v", n.id, client, err)
	}
	slices.Sort(watchers)
	return watchers
}

func (w *world) watchersKey(client contracts.ClientID) string {
	return string(contracts.WatchersKey(w.cluster, client.Address()))
}

func (w *world) expectTold(what string, got []contracts.NodeID, want ...contracts.NodeID) {
	w.Helper()
	if !slices.Equal(got, want) {
		w.Errorf("%s: %v are to be told, not %v", what, got, want)
	}
}

func told(w *world) {
	a, b, c := w.join("a", 1), w.join("b", 2), w.open("c", 3) // which has no lease, and watches all the same
	reader := w.open("", 0)
	s1, s2 := contracts.NewSessionID(), contracts.NewSessionID()
	w.expectTold("the first connect", a.told(true, "ann", s1))
	for _, n := range []*node{a, b, c, reader, b} {
		n.expect("ann", s1)
	}
	w.expectTold("a connect", a.told(true, "ann", s2), "b", "c")
	w.expectTold("the same again", a.told(true, "ann", s2), "b", "c")
	w.expectTold("by another node", b.told(true, "ann", contracts.NewSessionID()), "a", "c")
	w.expectTold("a disconnect", a.told(false, "ann", s2), "b", "c")
	w.expectTold("the same again", a.told(false, "ann", s2))
	w.expectTold("of what never was", a.told(false, "ann", contracts.NewSessionID()))
	w.expectTold("of another client", a.told(true, "bob", s1))
	w.expectTold("by whoever finds it gone", c.told(false, "ann", s1), "a", "b")
}

func watchEnds(w *world) {
	const ttl = 2 * time.Second
	short := func(c *presence.Config) { c.WatchTTL = ttl }
	a, b, c := w.join("a", 1), w.join("b", 2, short), w.join("c", 3)
	s := a.connect("ann")
	start := time.Now()
	b.expect("ann", s)
	asked := time.Now()
	for {
		got := a.told(true, "ann", s)
		if took := time.Since(start); len(got) == 0 {
			if took < ttl {
				w.Errorf("a watch of %v ended after %v", ttl, took)
			}
			break
		} else if time.Since(asked) > ttl+promptly {
			w.Fatalf("a watch of %v did not end: %v", ttl, got)
		}
		<-time.After(20 * time.Millisecond)
	}
	w.until("nothing is left of it", func() bool { return w.Client.Exists(w.Context(), w.watchersKey("ann")).Val() == 0 })
	// One that lasts keeps the set, and not the one that ends.
	b.expect("ann", s)
	c.expect("ann", s)
	w.expectTold("both watch", a.told(true, "ann", s), "b", "c")
	w.until("only the longer one is left", func() bool { return slices.Equal(a.told(true, "ann", s), []contracts.NodeID{"c"}) })
	if left := w.Client.PTTL(w.Context(), w.watchersKey("ann")).Val(); left <= 0 || left > contracts.WatchTTL {
		w.Errorf("the watchers have %v left", left)
	}
}

func watchAbsent(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	b.expect("ann")
	s := contracts.NewSessionID()
	w.expectTold("the first connect", a.told(true, "ann", s), "b")
	w.expectTold("the last disconnect", a.told(false, "ann", s), "b")
}

func group(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	g := contracts.GroupName("ann").Address()
	s, member := a.connect("ann"), contracts.NewSessionID()
	b.expect("ann", s)
	others, watchers, err := a.Connect(w.Context(), g, contracts.Entry{Session: member})
	if err != nil || len(others)+len(watchers) != 0 {
		w.Errorf("the group of a client's name has %v, %v: %v", others, watchers, err)
	}
	entries, err := b.Lookup(w.Context(), []contracts.Address{g, contracts.ClientID("ann").Address()})
	if err != nil || !sameSessions(sessions(entries[0]), []contracts.SessionID{member}) || !sameSessions(sessions(entries[1]), []contracts.SessionID{s}) {
		w.Errorf("the group and the client have %v: %v", entries, err)
	}
	got, err := a.Disconnect(w.Context(), g, member)
	w.must(err)
	w.expectTold("leaving the group", got, "b")
	b.expect("ann", s)
}

// noneIsMissed is what a cache of answers relies on: a lookup finds a session, or whoever connected it is told of the
// lookup.
func noneIsMissed(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	for i := range 300 {
		client, s := clientNamed("client", strconv.Itoa(i)), contracts.NewSessionID()
		var found []contracts.Entry
		var watchers []contracts.NodeID
		var wg sync.WaitGroup
		wg.Go(func() { found = b.find(client) })
		wg.Go(func() { watchers = a.told(true, client, s) })
		wg.Wait()
		if !contains(found, s) && !slices.Contains(watchers, "b") {
			w.Fatalf("round %d: b did not find the session, and is not to be told", i)
		}
	}
}

func watchMany(w *world) {
	const n = 200
	a, b := w.join("a", 1), w.join("b", 2)
	clients := make([]contracts.ClientID, n)
	for i := range n {
		clients[i] = clientNamed("client", strconv.Itoa(i))
	}
	if _, err := b.Lookup(w.Context(), Addresses(clients...)); err != nil {
		w.Fatal(err)
	}
	for _, c := range clients {
		w.expectTold("a connect of "+string(c), a.told(true, c, contracts.NewSessionID()), "b")
	}
}
