package presencetest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
)

var leasePromises = map[string]func(*world){
	"TheEntriesOfACrashedNodeStopCounting":         crashedNode,
	"TheEntriesOfARestartedNodeDoNotCount":         restartedNode,
	"TheNodeIDOfALivingNodeIsRefused":              livingNodeID,
	"ANodeIDIsTakenOverAfterACrash":                takeOver,
	"ANodeIDIsFreeAfterAClose":                     freeAfterClose,
	"ANodeThatWasAwayTooLongLearnsThatItLost":      lost,
	"CloseLeavesTheLeaseOfAnother":                 releaseForeign,
	"AcquireGivesUpWithItsContext":                 acquireGivesUp,
	"TheSweepRemovesWhatNobodyReads":               sweep,
	"NodesListsTheLiving":                          nodes,
	"AMissingLeaseProvesNothingRightAfterTheStart": graceAtStart,
	"WhatANodeReportsStandsBesideItsLease":         reports,
}

func crashedNode(w *world) {
	a, b := w.join("a", 1, shortLease), w.join("b", 2, shortLease)
	s := b.connect("ann")
	gone := a.connect("ann")
	a.connect("bob")
	b.expect("ann", gone, s)
	crash := time.Now()
	a.crash()
	b.expect("ann", gone, s) // the lease lives on
	w.until("the crashed node's entries stop counting", func() bool { return len(b.find("ann")) == 1 })
	if took := time.Since(crash); took < shortLife/2 {
		w.Errorf("a lease of 1 s was gone after %v", took)
	}
	b.expect("ann", s)
	b.expect("bob")
	w.until("dead entries are removed by who reads them", func() bool {
		b.find("ann")
		b.find("bob")
		return w.stored("ann") == 1 && w.stored("bob") == 0
	})
	if s := b.Stats(); s.Pruned != 2 {
		w.Errorf("2 entries were removed, %d were counted", s.Pruned)
	}
}

func restartedNode(w *world) {
	a, b := w.join("a", 1), w.join("b", 2)
	old := a.connect("ann")
	b.expect("ann", old)
	a.close()
	a = w.join("a", 3)
	s := a.connect("ann")
	b.expect("ann", s) // although b's cache says that a lives with its old epoch
	a.expect("ann", s)
	w.until("the entry of the old epoch is removed", func() bool { b.find("ann"); return w.stored("ann") == 1 })
}

func livingNodeID(w *world) {
	a := w.join("a", 1, shortLease)
	s := a.connect("ann")
	start := time.Now()
	second := w.open("a", 2, shortLease)
	err := second.Acquire(w.Context())
	if took := time.Since(start); !errors.Is(err, presence.ErrNodeTaken) || took > shortLife {
		w.Errorf("a second node a: %v after %v", err, took)
	}
	a.expect("ann", s)
	select {
	case <-a.Lost():
		w.Error("the first node lost its lease")
	default:
	}
	a.close()
	w.must(second.Acquire(w.Context())) // it may try again
	second.expect("ann")
}

func takeOver(w *world) {
	a := w.join("a", 1, shortLease)
	a.connect("ann")
	a.crash()
	crash := time.Now()
	next := w.join("a", 2, shortLease)
	if took := time.Since(crash); took < shortLife/2 || took > promptly {
		w.Errorf("a lease of 1 s was taken over after %v", took)
	}
	next.expect("ann")
	next.expect("bob", next.connect("bob"))
}

func freeAfterClose(w *world) {
	for i := range 3 {
		a := w.join("a", contracts.Epoch(i))
		a.expect("ann", a.connect("ann"))
		a.close()
		if n := w.Client.Exists(w.Context(), w.leaseKey("a")).Val(); n != 0 {
			w.Error("the lease was not given back")
		}
	}
}

func lost(w *world) {
	a := w.join("a", 1, shortLease)
	a.gate.Cut()
	next := w.join("a", 2, shortLease)
	a.gate.Mend()
	select {
	case <-a.Lost():
	case <-time.After(promptly):
		w.Fatal("the first node does not learn that it lost its lease")
	}
	if _, _, err := a.Connect(w.Context(), Addresses("ann")[0], contracts.Entry{Session: contracts.NewSessionID()}); !errors.Is(err, presence.ErrNodeTaken) {
		w.Errorf("connect without the lease: %v", err)
	}
	a.close()
	next.expect("ann", next.connect("ann"))
	if got := w.Client.Get(w.Context(), w.leaseKey("a")).Val(); got != contracts.Epoch(2).String() {
		w.Errorf("the lease is held by %q", got)
	}
}

func releaseForeign(w *world) {
	a := w.join("a", 1) // which renews only after 1.5 s
	foreign := contracts.Epoch(77).String()
	w.must(w.Client.Set(w.Context(), w.leaseKey("a"), foreign, time.Minute).Err())
	a.close()
	if got := w.Client.Get(w.Context(), w.leaseKey("a")).Val(); got != foreign {
		w.Errorf("the lease of another is %q after the close", got)
	}
}

func acquireGivesUp(w *world) {
	w.must(w.Client.Set(w.Context(), w.leaseKey("a"), contracts.Epoch(77).String(), time.Minute).Err())
	a := w.open("a", 1)
	ctx, cancel := withTimeout(w, 300*time.Millisecond)
	defer cancel()
	if err := a.Acquire(ctx); !errors.Is(err, presence.ErrNodeTaken) {
		w.Errorf("acquire: %v", err)
	}
	w.must(w.Client.Persist(w.Context(), w.leaseKey("a")).Err())
	if err := a.Acquire(w.Context()); !errors.Is(err, presence.ErrNodeTaken) {
		w.Errorf("acquire what never ends: %v", err)
	}
}

// graceAtStart is about a reader that knows nothing yet: it must not remove what a node that is about to renew has
// written.
func graceAtStart(w *world) {
	a := w.join("a", 1)
	s := a.connect("ann")
	w.must(w.Client.Del(w.Context(), w.leaseKey("a")).Err()) // until a's next renewal
	b := w.join("b", 2)
	b.expect("ann")
	w.until("the lease is back", func() bool { return len(b.find("ann")) == 1 })
	b.expect("ann", s)
	if s := b.Stats(); s.Pruned != 0 {
		w.Errorf("%d entries were removed", s.Pruned)
	}
}

func sweep(w *world) {
	often := func(c *presence.Config) {
		shortLease(c)
		c.SweepInterval, c.SweepPause = 50*time.Millisecond, time.Millisecond
	}
	a := w.join("a", 1, shortLease)
	const n = 300 // more than a step
	for i := range n {
		a.connect(clientNamed("client", strconv.Itoa(i)))
	}
	w.must(w.Client.SAdd(w.Context(), string(contracts.NodesKey(w.cluster)), "not a node").Err())
	b, c := w.join("b", 2, often), w.join("c", 3, often)
	s := b.connect("ann")
	a.crash()
	pruned := func() int { return int(b.Stats().Pruned + c.Stats().Pruned) }
	w.until("the entries of the crashed node are swept", func() bool { return pruned() >= n })
	for i := range n {
		if client := clientNamed("client", strconv.Itoa(i)); w.stored(client) != 0 {
			w.Errorf("%s has a record", client)
		}
	}
	w.until("its id is forgotten", func() bool {
		return w.Client.SCard(w.Context(), string(contracts.NodesKey(w.cluster))).Val() == 2
	})
	b.expect("ann", s)
	c.expect("ann", s)
	if pruned() != n {
		w.Errorf("%d entries were removed, %d were dead", pruned(), n)
	}
}

func nodes(w *world) {
	a, b := w.join("a", 1, shortLease), w.join("b", 2, shortLease)
	w.until("a sees b", func() bool { return fmt.Sprint(a.Alive()) == "[{a 0000000000000001} {b 0000000000000002}]" })
	b.close()
	w.until("a sees that b has left", func() bool { return fmt.Sprint(a.Alive()) == "[{a 0000000000000001}]" })
}

func reports(w *world) {
	var users atomic.Int64
	load := func() contracts.Load {
		return contracts.Load{
			Users: int(users.Load()), Capacity: 100, State: contracts.NodeReady, Weight: 2, Zone: "eu-1", URL: "ws://127.0.0.1:8081/v1/ws",
		}
	}
	reporting := func(c *presence.Config) { shortLease(c); c.Report = load }
	reader, err := presence.NewFleetReader(w.Config, w.cluster)
	w.must(err)
	defer reader.Close()
	w.must(reader.Check(w.Context()))
	a := w.join("a", 1, reporting)
	silent := w.join("c", 3, shortLease)
	fleet := func() []contracts.Instance {
		all, err := reader.Fleet(w.Context())
		w.must(err)
		return all
	}
	first := contracts.Instance{Peer: contracts.Peer{Node: "a", Epoch: 1}, Load: load()}
	if got := fleet(); !slices.Equal(got, []contracts.Instance{first}) { // at once, and without the one that is silent
		w.Errorf("the fleet is %+v", got)
	}
	b := w.join("b", 2, reporting)
	users.Store(7)
	a.Announce()
	w.until("the reports follow", func() bool {
		got := fleet()
		return len(got) == 2 && got[0].Load == load() && got[1].Load == load() && got[1].Node == "b"
	})
	b.close()
	if got := fleet(); len(got) != 1 || got[0].Node != "a" {
		w.Errorf("after a close: %+v", got)
	}
	if n := w.Client.Exists(w.Context(), string(contracts.LoadKey(w.cluster, "b"))).Val(); n != 0 {
		w.Error("the report outlives its node")
	}
	w.must(w.Client.Set(w.Context(), string(contracts.LoadKey(w.cluster, "c")), "9 of a later version", time.Minute).Err())
	if got := fleet(); len(got) != 1 {
		w.Errorf("with a report that nobody understands: %+v", got)
	}
	silent.close()
	a.crash()
	w.until("a crashed node leaves the fleet", func() bool { return len(fleet()) == 0 })
}
