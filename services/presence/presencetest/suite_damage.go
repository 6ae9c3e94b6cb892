package presencetest

import (
	"context"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

var damagePromises = map[string]func(*world){
	"AnEmptiedRedisGetsItsLeaseBack":  emptied,
	"LostScriptsAreSentAgain":         lostScripts,
	"GarbageInARecordDoesNoHarm":      garbage,
	"GarbageElsewhereDoesNoHarm":      garbageElsewhere,
	"AnEntryWrittenAnewIsNotRemoved":  writtenAnew,
	"ACutConnectionIsReplaced":        cutConnection,
	"OfACutDirectoryEveryCallReturns": cutCalls,
}

func withTimeout(w *world, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.Context(), d)
}

func emptied(w *world) {
	a, b := w.join("a", 1, shortLease), w.join("b", 2, shortLease)
	s := a.connect("ann")
	w.empty()
	a.expect("ann")
	for _, n := range []*node{a, b} {
		select {
		case <-n.Restored():
		case <-time.After(promptly):
			w.Fatalf("%s does not learn that its lease was lost", n.id)
		}
		if got := w.Client.Get(w.Context(), w.leaseKey(n.id)).Val(); got != n.epoch.String() {
			w.Errorf("the lease of %s is %q", n.id, got)
		}
	}
	w.until("both nodes are registered", func() bool {
		return w.Client.SCard(w.Context(), string(contracts.NodesKey(w.cluster))).Val() == 2
	})
	a.reconnect("ann", s)
	b.expect("ann", s)
	if n := a.Stats().LeaseMissing; n != 1 {
		w.Errorf("the lease was lost once, not %d times", n)
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
	entries, err := reader.Lookup(w.Context(), []contracts.ClientID{"ann", "bob"})
	if err != nil || len(entries[0])+len(entries[1]) != 0 {
		w.Errorf("lookup of what is no record: %v, %v", entries, err)
	}
	a.disconnect("ann", contracts.NewSessionID())
	s := a.connect("ann")
	reader.expect("ann", s)
	before := a.Stats().Renewals
	w.until("the lease is renewed", func() bool { return a.Stats().Renewals > before+2 })
	if got := a.Nodes(); len(got) != 1 {
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
	if _, err := a.Lookup(w.Context(), []contracts.ClientID{"ann", "bob"}); err == nil {
		w.Error("a lookup without Redis is no error")
	}
	if _, err := a.Connect(w.Context(), "ann", contracts.Entry{Session: s}); err == nil {
		w.Error("a connect without Redis is no error")
	}
	if err := a.Disconnect(w.Context(), "ann", s); err == nil {
		w.Error("a disconnect without Redis is no error")
	}
	a.gate.Mend()
	a.expect("ann", s)
}
