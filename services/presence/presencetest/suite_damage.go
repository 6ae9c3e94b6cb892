package presencetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
)

var damagePromises = map[string]func(*world){
	"AnEmptiedRedisGetsItsLeaseBack":     emptied,
	"WhatAnEmptiedRedisLacksIsUncertain": uncertain,
	"ALookupHasALostLeaseTakenAtOnce":    leaseAtOnce,
	"WhoHasNoLeaseCannotDoubt":           noLeaseNoDoubt,
	"WhoStartsAfterALossDoubts":          newbornDoubts,
	"OtherDataIsNoticedWithTheLeaseKept": otherData,
	"ASilenceOfRedisIsFollowedByDoubt":   silence,
	"GarbageInWatchersDoesNoHarm":        garbageWatchers,
	"AnEntryOutlivesItsLostLease":        lostLeases,
	"LostScriptsAreSentAgain":            lostScripts,
	"GarbageInARecordDoesNoHarm":         garbage,
	"GarbageElsewhereDoesNoHarm":         garbageElsewhere,
	"AnEntryWrittenAnewIsNotRemoved":     writtenAnew,
	"ACutConnectionIsReplaced":           cutConnection,
	"OfACutDirectoryEveryCallReturns":    cutCalls,
}

func withTimeout(w *world, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.Context(), d)
}

func emptied(w *world) {
	a, b := w.join("a", 1, shortLease), w.join("b", 2, shortLease)
	s := a.connect("ann")
	w.empty()
	if _, err := a.Lookup(w.Context(), Addresses("ann")); !errors.Is(err, presence.ErrUncertain) {
		w.Errorf("after Redis was emptied, nothing is found: %v", err)
	}
	for _, n := range []*node{a, b} {
		select {
		case <-n.Restored():
		case <-time.After(promptly):
			w.Fatalf("%s does not learn that its lease was lost", n.id)
		}
		w.until("it has its lease", func() bool { // which may lapse on a machine that is very busy
			return w.Client.Get(w.Context(), w.leaseKey(n.id)).Val() == n.epoch.String()
		})
	}
	w.until("both nodes are registered", func() bool {
		return w.Client.SCard(w.Context(), string(contracts.NodesKey(w.cluster))).Val() == 2
	})
	a.reconnect("ann", s)
	b.expect("ann", s)
	for _, n := range []*node{a, b} { // a by its lookup, b by a renewal
		if missing := n.Stats().Losses; missing < 1 || missing > 2 { // it may lapse once more on a machine that is very busy
			w.Errorf("the lease of %s was lost once, not %d times", n.id, missing)
		}
	}
}

// lostLeases is about a Redis that has lost leases and not the entries.
func lostLeases(w *world) {
	a, b := w.join("a", 1, shortLease), w.join("b", 2, shortLease)
	s := a.connect("ann")
	b.expect("ann", s)
	<-time.After(shortLife + shortLife/2) // the time of grace after the start
	a.gate.Cut()                          // for a while, it cannot take its lease again
	w.must(w.Client.Del(w.Context(), w.leaseKey("b")).Err())
	w.until("b doubts", func() bool { b.expect("ann", s); return !b.Trusted() })
	w.must(w.Client.Del(w.Context(), w.leaseKey("a")).Err())
	for over := time.Now().Add(shortLife / 2); time.Now().Before(over); <-time.After(5 * time.Millisecond) {
		b.expect("ann", s)
	}
	a.gate.Mend()
	w.until("a has its lease again", func() bool {
		return w.Client.Get(w.Context(), w.leaseKey("a")).Val() == a.epoch.String()
	})
	b.expect("ann", s)
	if n := b.Stats().Pruned; n != 0 {
		w.Errorf("%d entries were removed", n)
	}
}

// uncertain empties Redis again and again under a reader: what lives is found or in doubt, and never absent.
func uncertain(w *world) {
	a, b := w.join("a", 1, shortLease), w.join("b", 2, shortLease)
	live, away := a.connect("ann"), clientNamed("bob")
	b.expect("ann", live)
	var again sync.WaitGroup
	defer again.Wait()
	stop := make(chan struct{})
	defer close(stop)
	again.Go(func() {
		for {
			select {
			case <-a.Restored():
				<-time.After(shortLife / 10) // it has many others to write
				a.reconnect("ann", live)
			case <-stop:
				return
			}
		}
	})
	for round := range 3 {
		w.until("b trusts what it reads", b.Trusted)
		b.expect(away)
		w.empty()
		var found, doubted int
		var restored time.Time
		for over := time.Now().Add(promptly); ; {
			start := time.Now()
			entries, err := b.Lookup(w.Context(), Addresses("ann", away))
			var part *presence.LookupError
			switch {
			case err == nil && len(entries[0]) != 1:
				w.Fatalf("round %d: a session that lives is said not to be there", round)
			case err != nil && (!errors.As(err, &part) || !errors.Is(err, presence.ErrUncertain) || !part.FailedAt(1)):
				w.Fatalf("round %d: %v", round, err)
			case err != nil && part.FailedAt(0):
				doubted++
			case len(entries[0]) == 1:
				found++ // at once, while others are in doubt
			}
			if err == nil && b.Trusted() {
				if restored.IsZero() || start.Sub(restored) < shortLife/2 {
					w.Errorf("round %d: trusted %v after the lease was restored", round, start.Sub(restored))
				}
				break
			}
			select {
			case <-b.Restored():
				restored = time.Now()
			case <-time.After(5 * time.Millisecond):
			}
			if time.Now().After(over) {
				w.Fatalf("round %d: still in doubt", round)
			}
		}
		if doubted == 0 || found == 0 {
			w.Errorf("round %d: %d times in doubt, %d times found", round, doubted, found)
		}
	}
}

func leaseAtOnce(w *world) {
	a := w.join("a", 1, func(c *presence.Config) { c.LeaseTTL, c.LeaseRenewal = time.Minute, 25*time.Second })
	a.expect("ann")
	w.must(w.Client.Del(w.Context(), w.leaseKey("a")).Err())
	if !a.Trusted() {
		w.Error("in doubt before it could know")
	}
	start := time.Now()
	if _, err := a.Lookup(w.Context(), Addresses("ann")); !errors.Is(err, presence.ErrUncertain) || !errors.Is(err, presence.ErrUnavailable) {
		w.Errorf("lookup without the lease: %v", err)
	}
	select {
	case <-a.Restored():
	case <-time.After(promptly):
		w.Fatal("the lease is not taken again")
	}
	w.Logf("restored %v after the lookup", time.Since(start))
	if got := w.Client.Get(w.Context(), w.leaseKey("a")).Val(); got != a.epoch.String() || a.Trusted() {
		w.Errorf("the lease is %q, trusted: %v", got, a.Trusted())
	}
	s := a.connect("ann")
	a.expect("ann", s) // what is found is certain
	if n := a.Stats().Losses; n != 1 {
		w.Errorf("the lease was lost once, not %d times", n)
	}
}

func noLeaseNoDoubt(w *world) {
	a, reader := w.open("a", 1), w.open("", 0)
	w.empty()
	for _, n := range []*node{a, reader} {
		n.expect("ann")
		if !n.Trusted() {
			w.Errorf("%q is in doubt", n.id)
		}
	}
}

// newbornDoubts is about a node that has no lease which could be missing.
func newbornDoubts(w *world) {
	a := w.join("a", 1, shortLease)
	a.expect("ann")
	w.empty()
	b := w.join("b", 2, shortLease)
	if _, err := b.Lookup(w.Context(), Addresses("ann")); !errors.Is(err, presence.ErrUncertain) {
		w.Errorf("a new node finds nothing in an emptied Redis: %v", err)
	}
	if b.Listed() {
		w.Error("a new node takes it for certain that it knows all others")
	}
	w.until("it knows all", b.Listed)
	if got := b.Alive(); len(got) != 2 {
		w.Errorf("and these are %v", got)
	}
	w.until("it trusts what it reads", b.Trusted)
	b.expect("ann")
	c := w.join("c", 3, shortLease)
	if !c.Listed() || !c.Trusted() {
		w.Error("a node that starts much later is in doubt")
	}
}

// otherData has each master look like a replica that took over: the leases are there, and it is another server.
func otherData(w *world) {
	a := w.join("a", 1, shortLease)
	a.expect("ann")
	notes := 0
	for i := range contracts.Origins {
		key := string(contracts.OriginKey(w.cluster, i))
		note, err := w.Client.Get(w.Context(), key).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		w.must(err)
		notes++
		w.must(w.Client.Set(w.Context(), key, "0123456789abcdef "+note[strings.IndexByte(note, ' ')+1:], 0).Err())
	}
	if notes == 0 {
		w.Fatal("no master says what it holds: the test shows nothing")
	}
	select {
	case <-a.Restored():
	case <-time.After(promptly):
		w.Fatal("the node does not notice that Redis holds other data")
	}
	if _, err := a.Lookup(w.Context(), Addresses("ann")); !errors.Is(err, presence.ErrUncertain) {
		w.Errorf("nothing is found in it: %v", err)
	}
	w.until("the node trusts it", a.Trusted)
	a.expect("ann")
	if n := a.Stats().Losses; n == 0 {
		w.Error("no loss was counted")
	}
}

// silence: whoever connected while Redis was away is not in it the moment it is back.
func silence(w *world) {
	if _, ok := w.Client.(*redis.ClusterClient); ok {
		return // its masters are not away together
	}
	a := w.join("a", 1, shortLease)
	a.expect("ann")
	a.gate.Cut()
	if _, err := a.Lookup(w.Context(), Addresses("ann")); err == nil {
		w.Fatal("the gate is open")
	}
	a.gate.Mend()
	if _, err := a.Lookup(w.Context(), Addresses("ann")); !errors.Is(err, presence.ErrUncertain) {
		w.Errorf("right after the silence: %v", err)
	}
	w.until("the node trusts what it reads", a.Trusted)
	a.expect("ann")
}

func garbageWatchers(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	key := w.watchersKey("ann")
	w.must(w.Client.Set(w.Context(), key, "not a sorted set", 0).Err())
	s := contracts.NewSessionID()
	if got := a.told(true, "ann", s); len(got) != 0 {
		w.Errorf("of no sorted set %v are told", got)
	}
	if got := a.told(false, "ann", s); len(got) != 0 {
		w.Errorf("of no sorted set %v are told", got)
	}
	s = a.connect("ann")
	b.expect("ann", s) // which replaces it
	far := float64(time.Now().Add(time.Hour).UnixMilli())
	w.must(w.Client.ZAdd(w.Context(), key, redis.Z{Score: far, Member: "Not A Node"}, redis.Z{Score: far, Member: ""}).Err())
	if got := a.told(true, "ann", s); !slices.Equal(got, []contracts.NodeID{"b"}) {
		w.Errorf("%v are told", got)
	}
}

func lostScripts(w *world) {
	forget := func() { w.must(w.Client.ScriptFlush(w.Context()).Err()) }
	a, b := w.join("a", 1, shortLease), w.join("b", 2, shortLease)
	forget()
	s1 := a.connect("ann")
	forget()
	s2 := b.connect("ann")
	b.expect("ann", s1, s2)
	for range 3 { // renewals
		forget()
		before := a.Stats().Renewals
		w.until("the lease is renewed", func() bool { return a.Stats().Renewals > before })
	}
	w.must(w.Client.HSet(w.Context(), w.key("ann"), "garbage", "garbage").Err())
	forget()
	b.expect("ann", s1, s2)
	w.until("garbage is removed", func() bool { return w.stored("ann") == 2 })
	forget()
	a.disconnect("ann", s1)
	b.expect("ann", s2)
	forget()
	a.close()
	forget()
	c := w.join("a", 3)
	c.expect("ann", s2)
}

func garbage(w *world) {
	a := w.join("a", 1)
	s := a.connect("ann")
	epoch, id := contracts.Epoch(1).String(), string(contracts.NewSessionID())
	bad := map[string]string{
		"":                               "",
		"x":                              "1 a " + epoch + " 1 1 ",
		strings.Repeat("f", 33):          "1 a " + epoch + " 1 1 ",
		id[:31] + "0":                    "1 a " + epoch + " 1 1",
		id[:31] + "1":                    "1  " + epoch + " 1 1 ",
		id[:31] + "2":                    "1 a 1 1 1 ",
		id[:31] + "3":                    "1 a " + epoch + " - 1 ",
		id[:31] + "4":                    "1 a " + epoch + " 1 ! ",
		id[:31] + "5":                    "1 a " + epoch + " 1 1 a b",
		id[:31] + "6":                    "1 a " + epoch + " 1 99999999999999999999 ",
		id[:31] + "7":                    strings.Repeat("\x00\xff", 1000),
		id[:31] + "8":                    "1 A " + epoch + " 1 1 ",
		id[:31] + "9":                    "-1 a " + epoch + " 1 1 ",
		id[:31] + "\n":                   "1 a " + epoch + " 1 1 ",
		string(contracts.NewSessionID()): `{"node":"a"}`,
	}
	for field, value := range bad {
		w.must(w.Client.HSet(w.Context(), w.key("ann"), field, value).Err())
	}
	other := string(contracts.NewSessionID())
	w.must(w.Client.HSet(w.Context(), w.key("ann"), other, "2 anything at all").Err())
	a.expect("ann", s)
	s2 := contracts.NewSessionID()
	if others := a.reconnect("ann", s2); !sameSessions(others, []contracts.SessionID{s}) {
		w.Errorf("the others are %v", others)
	}
	a.expect("ann", s, s2)
	w.until("garbage is removed, and another version's entry is not", func() bool {
		return w.stored("ann") == 3 && w.Client.HExists(w.Context(), w.key("ann"), other).Val()
	})
	a.disconnect("ann", s)
	a.expect("ann", s2)
}

func garbageElsewhere(w *world) {
	w.must(w.Client.Set(w.Context(), string(contracts.NodesKey(w.cluster)), "not a set", 0).Err())
	reader := w.open("", 0)
	w.must(w.Client.Del(w.Context(), string(contracts.NodesKey(w.cluster))).Err())
	a := w.join("a", 1, shortLease)
	w.must(w.Client.SAdd(w.Context(), string(contracts.NodesKey(w.cluster)), "Not A Node", "", "b", "c").Err())
	w.must(w.Client.Set(w.Context(), w.leaseKey("b"), "not an epoch", 0).Err())
	w.must(w.Client.LPush(w.Context(), w.leaseKey("c"), "not a string").Err())
	// What is no record counts for none, until the client connects again.
	w.must(w.Client.Set(w.Context(), w.key("ann"), "not a hash", 0).Err())
	entries, err := reader.Lookup(w.Context(), Addresses("ann", "bob"))
	if err != nil || len(entries[0])+len(entries[1]) != 0 {
		w.Errorf("lookup of what is no record: %v, %v", entries, err)
	}
	a.disconnect("ann", contracts.NewSessionID())
	s := a.connect("ann")
	reader.expect("ann", s)
	before := a.Stats().Renewals
	w.until("the lease is renewed", func() bool { return a.Stats().Renewals > before+2 })
	if got := a.Alive(); len(got) != 1 {
		w.Errorf("the nodes are %v", got)
	}
	reader.expect("ann", s)
}

// writtenAnew is about an entry that is read as dead, and written again before it is removed.
func writtenAnew(w *world) {
	a := w.join("a", 1)
	s := a.connect("ann")
	old, err := w.Client.HGet(w.Context(), w.key("ann"), string(s)).Result()
	w.must(err)
	a.reconnect("ann", s)
	anew, err := w.Client.HGet(w.Context(), w.key("ann"), string(s)).Result()
	w.must(err)
	if old == anew {
		w.Errorf("two writes of one entry are the same %q, so that compare-and-delete cannot tell them apart", old)
	}
}

func cutConnection(w *world) {
	a := w.join("a", 1)
	s := a.connect("ann")
	for range 5 {
		a.gate.Cut()
		a.gate.Mend()
		a.expect("ann", s)
		a.disconnect("ann", contracts.NewSessionID())
	}
}

func cutCalls(w *world) {
	a := w.join("a", 1)
	s := a.connect("ann")
	a.gate.Cut()
	if _, err := a.Lookup(w.Context(), Addresses("ann", "bob")); err == nil {
		w.Error("a lookup without Redis is no error")
	}
	if _, _, err := a.Connect(w.Context(), Addresses("ann")[0], contracts.Entry{Session: s}); err == nil {
		w.Error("a connect without Redis is no error")
	}
	if _, err := a.Disconnect(w.Context(), Addresses("ann")[0], s); err == nil {
		w.Error("a disconnect without Redis is no error")
	}
	a.gate.Mend()
	a.expect("ann", s)
}
