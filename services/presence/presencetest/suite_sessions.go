package presencetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
)

var sessionPromises = map[string]func(*world){
	"ASessionIsFoundWithAllThatWasSaidOfIt":     aSessionIsFound,
	"SessionsOnTwoNodesAreBothFound":            sessionsOnTwoNodes,
	"ConnectingAgainReplacesTheEntry":           connectingAgain,
	"DisconnectRemovesItsOwnSessionOnly":        disconnectOwn,
	"ALateDisconnectNeverHurtsANewerSession":    lateDisconnect,
	"ANewNodeCountsAtOnce":                      newNode,
	"FiveHundredClientsTakeOnePipeline":         manyClients,
	"IDsWithOddCharactersHaveKeysOfTheirOwn":    oddIDs,
	"ManyGoroutinesMayUseOneDirectory":          manyGoroutines,
	"WhatCannotBeStoredIsRefused":               refused,
	"AProcessWithoutALeaseLooksUpOnly":          withoutLease,
	"AClosedDirectoryRefusesEverything":         closedDirectory,
	"TheEntryOfAnotherNodesSessionCanBeRemoved": removeForeign,
}

func aSessionIsFound(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	s := contracts.NewSessionID()
	since := time.UnixMilli(1_700_000_000_123)
	others, _, err := a.Connect(w.Context(), Addresses("ann")[0], contracts.Entry{Session: s, Device: "phone:1", Since: since, Node: "x", Epoch: 99})
	if err != nil || len(others) != 0 {
		w.Fatalf("connect: others %v, error %v", others, err)
	}
	want := contracts.Entry{Session: s, Node: "a", Epoch: 1, Device: "phone:1", Since: since}
	for _, n := range []*node{a, b} {
		if got := n.find("ann"); len(got) != 1 || got[0] != want {
			w.Errorf("%s finds %v, not %v", n.id, got, want)
		}
	}
	a.disconnect("ann", s)
	a.expect("ann")
	b.expect("ann")
	if n := w.stored("ann"); n != 0 {
		w.Errorf("the record of a client without sessions has %d fields", n)
	}
}

func sessionsOnTwoNodes(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	s1 := a.connect("ann")
	s2 := contracts.NewSessionID()
	if others := b.reconnect("ann", s2); !sameSessions(others, []contracts.SessionID{s1}) {
		w.Errorf("the others of the second session are %v, not %v", others, s1)
	}
	for _, n := range []*node{a, b} {
		n.expect("ann", s1, s2)
	}
	nodes := map[contracts.NodeID]bool{}
	for _, e := range a.find("ann") {
		nodes[e.Node] = true
	}
	if !nodes["a"] || !nodes["b"] {
		w.Errorf("the sessions are on %v", nodes)
	}
}

func connectingAgain(w *world) {
	a := w.join("a", 1)
	s := a.connect("ann")
	if others := a.reconnect("ann", s); len(others) != 0 {
		w.Errorf("a session is its own other: %v", others)
	}
	a.expect("ann", s)
	if n := w.stored("ann"); n != 1 {
		w.Errorf("%d fields", n)
	}
}

func disconnectOwn(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	s1, s2, s3 := a.connect("ann"), a.connect("ann"), b.connect("ann")
	a.disconnect("ann", s1)
	a.disconnect("ann", s1)
	a.disconnect("ann", contracts.NewSessionID())
	a.disconnect("bob", s2)
	b.expect("ann", s2, s3)
}

// lateDisconnect has one client change nodes a thousand times, each time with the disconnect of the old session under
// way at the same time as the connect of the new one.
func lateDisconnect(w *world) {
	nodes := []*node{w.join("a", 1), w.join("b", 2)}
	old := nodes[0].connect("ann")
	for i := range 1000 {
		from, to := nodes[i%2], nodes[(i+1)%2]
		next := contracts.NewSessionID()
		var wg sync.WaitGroup
		wg.Go(func() { from.disconnect("ann", old) })
		wg.Go(func() { to.reconnect("ann", next) })
		wg.Wait()
		from.expect("ann", next)
		if w.Failed() {
			w.Fatalf("in round %d", i)
		}
		old = next
	}
}

func newNode(w *world) {
	a := w.join("a", 1)
	for i := range 5 {
		b := w.join(contracts.NodeID("b"+strconv.Itoa(i)), 7)
		s := b.connect("ann")
		a.expect("ann", s)
		b.disconnect("ann", s)
	}
}

func manyClients(w *world) {
	const n = 500
	a, b := w.join("a", 1), w.join("b", 2)
	clients := make([]contracts.ClientID, n)
	want := make([]contracts.SessionID, n)
	var wg sync.WaitGroup
	for i := range n {
		clients[i] = clientNamed("client", strconv.Itoa(i))
		if i%5 == 4 {
			continue // these are offline
		}
		wg.Go(func() { want[i] = a.connect(clients[i]) })
	}
	wg.Wait()
	clients[7] = clients[3] // the same client may be asked for twice
	want[7] = want[3]
	before := b.gate.Writes()
	entries, err := b.Lookup(w.Context(), Addresses(clients...))
	if err != nil || len(entries) != n {
		w.Fatalf("lookup: %d results, error %v", len(entries), err)
	}
	// 40 KiB of commands go in few writes: three servers of a cluster, a lease and a refresh that come between included.
	if writes := b.gate.Writes() - before; writes > 16 {
		w.Errorf("a lookup of %d clients took %d writes", n, writes)
	}
	for i, e := range entries {
		if want[i] == "" && len(e) != 0 || want[i] != "" && (len(e) != 1 || e[0].Session != want[i]) {
			w.Errorf("client %d: %v, not %v", i, e, want[i])
		}
	}
	if none, err := b.Lookup(w.Context(), nil); err != nil || len(none) != 0 {
		w.Errorf("lookup of nobody: %v, %v", none, err)
	}
}

// oddIDs uses ids that contracts would not let in, too: a key must not depend on who checked.
func oddIDs(w *world) {
	a := w.join("a", 1)
	ids := []contracts.ClientID{
		"a", "A", ".", "..", "a:b", "a.b", "a-b", "a@b", "a_b", "{a}", "{}", "}a{", "*", "a*", "[a]", "a b", " ", "", "a\n", "a\x00", "\xff", "ü",
		"c:{x}", contracts.ClientID(strings.Repeat("x", contracts.MaxIDLength)), contracts.ClientID(strings.Repeat("x", contracts.MaxIDLength-1)),
	}
	want := map[contracts.ClientID]contracts.SessionID{}
	for _, id := range ids {
		want[id] = a.connect(id)
	}
	for _, id := range ids {
		a.expect(id, want[id])
	}
}

func manyGoroutines(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			client := clientNamed("client", strconv.Itoa(i%8))
			for range 10 {
				s := a.connect(client)
				if !contains(b.find(client), s) {
					w.Errorf("a session is missing after its connect")
				}
				a.disconnect(client, s)
				if contains(b.find(client), s) {
					w.Errorf("a session is there after its disconnect")
				}
			}
		})
	}
	wg.Wait()
	for i := range 8 {
		b.expect(clientNamed("client", strconv.Itoa(i)))
	}
	if s := a.Stats(); s.Connects != 240 || s.Disconnects != 240 || s.Errors != 0 {
		w.Errorf("the counters are %+v", s)
	}
}

func contains(entries []contracts.Entry, s contracts.SessionID) bool {
	for _, e := range entries {
		if e.Session == s {
			return true
		}
	}
	return false
}

func refused(w *world) {
	a := w.join("a", 1)
	for _, e := range []contracts.Entry{
		{},
		{Session: "abc"},
		{Session: contracts.SessionID(strings.Repeat("g", contracts.SessionIDLength))},
		{Session: contracts.NewSessionID(), Device: "a phone"},
		{Session: contracts.NewSessionID(), Device: strings.Repeat("x", contracts.MaxIDLength+1)},
	} {
		if _, _, err := a.Connect(w.Context(), Addresses("ann")[0], e); !errors.Is(err, contracts.ErrInvalidID) {
			w.Errorf("%+v: %v", e, err)
		}
	}
	a.expect("ann")
}

func withoutLease(w *world) {
	a := w.join("a", 1)
	s := a.connect("ann")
	b, reader := w.open("b", 2), w.open("", 0)
	for _, n := range []*node{b, reader} {
		n.expect("ann", s)
		if _, _, err := n.Connect(w.Context(), Addresses("ann")[0], contracts.Entry{Session: contracts.NewSessionID()}); !errors.Is(err, presence.ErrNoLease) {
			w.Errorf("connect without a lease: %v", err)
		}
	}
	if err := reader.Acquire(w.Context()); !errors.Is(err, presence.ErrConfig) {
		w.Errorf("a lease for no node: %v", err)
	}
	if got := fmt.Sprint(reader.Alive()); got != "[{a 0000000000000001}]" {
		w.Errorf("the nodes are %s", got)
	}
	a.expect("ann", s)
}

func closedDirectory(w *world) {
	a := w.join("a", 1)
	s := a.connect("ann")
	a.close()
	a.close() // once more is allowed
	_, _, err1 := a.Connect(w.Context(), Addresses("ann")[0], contracts.Entry{Session: s})
	_, err2 := a.Lookup(w.Context(), Addresses("ann"))
	_, err3 := a.Disconnect(w.Context(), Addresses("ann")[0], s)
	for _, err := range []error{err1, err2, err3, w.open("", 0).Close(w.Context())} {
		if err != nil && !errors.Is(err, presence.ErrClosed) {
			w.Errorf("after the close: %v", err)
		}
	}
	if err1 == nil || err2 == nil || err3 == nil {
		w.Error("a closed directory does as it is told")
	}
}

func removeForeign(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	s := a.connect("ann")
	b.disconnect("ann", s)
	a.expect("ann")
}
