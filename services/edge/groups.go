package edge

import (
	"context"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// groups are the groups that have members on this node. In the directory a group has one entry for each node with members,
// so that joining and leaving cost the directory nothing but for the first and the last member of a node, and a message
// to any number of members is one node message for each node.
type groups struct {
	edge  *Edge
	entry contracts.SessionID // under which this node stands in the records of groups

	mu sync.RWMutex
	m  map[contracts.GroupName]*group
}

// group is one group on this node.
type group struct {
	address contracts.Address

	mu      sync.RWMutex // guards the following
	members map[*Session]struct{}
	// The directory follows the members: one goroutine at a time makes recorded true while there are any, and false when
	// there are none.
	recorded recorded
	syncing  bool
	failing  time.Time // since when the directory has refused the change
	joining  []func()  // told when recorded is true
	gone     bool      // being taken out of the table: whoever joins waits for that
}

// recorded is what the directory has of a group. It is unknown while that is being changed, and when a change failed: it may
// have been made all the same.
type recorded uint8

const (
	recordedNo recorded = iota
	recordedYes
	recordedUnknown
)

func (g *groups) init(e *Edge) {
	g.edge, g.entry, g.m = e, contracts.NewSessionID(), map[contracts.GroupName]*group{}
}

func (g *groups) get(name contracts.GroupName) *group {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.m[name]
}

// has tells whether a group has members here.
func (g *groups) has(name contracts.GroupName) bool {
	x := g.get(name)
	if x == nil {
		return false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.members) > 0
}

// deliver puts a frame, which was encoded once for all of them, into the queue of every member. One that is too slow
// loses its connection, and nobody else anything.
func (g *groups) deliver(name contracts.GroupName, frame []byte) contracts.Status {
	x := g.get(name)
	if x == nil {
		return contracts.StatusNotHere
	}
	x.mu.RLock()
	n := len(x.members)
	var slow []*Session
	for s := range x.members {
		if s.offerBulk(frame) == contracts.StatusOverload {
			slow = append(slow, s)
		}
	}
	x.mu.RUnlock()
	for _, s := range slow { // ending one takes it out of its groups
		s.end(contracts.CloseSlow, tooSlow)
	}
	if n == 0 {
		return contracts.StatusNotHere
	}
	g.edge.metrics.fanned.Add(float64(n))
	return contracts.StatusDelivered
}

// join makes a session a member. done is called, once, when messages reach it from everywhere.
func (g *groups) join(name contracts.GroupName, s *Session, done func()) {
	for {
		g.mu.Lock()
		x := g.m[name]
		if x == nil {
			x = &group{address: name.Address(), members: map[*Session]struct{}{}}
			g.m[name] = x
		}
		g.mu.Unlock()
		x.mu.Lock()
		if x.gone { // between the two locks
			x.mu.Unlock()
			continue
		}
		x.members[s] = struct{}{}
		if x.recorded == recordedYes && !x.syncing {
			x.mu.Unlock()
			done()
			return
		}
		x.joining = append(x.joining, done)
		g.sync(x)
		x.mu.Unlock()
		return
	}
}

// leave takes a session out of a group; it does nothing if it is not a member.
func (g *groups) leave(name contracts.GroupName, s *Session) {
	x := g.get(name)
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.members, s)
	if len(x.members) == 0 {
		g.sync(x)
	}
}

// sync starts to make the directory follow the members, if that is not under way. x.mu is held.
func (g *groups) sync(x *group) {
	if !x.syncing {
		x.syncing = true
		g.edge.work.Go(func() { g.follow(x) })
	}
}

// follow makes the directory follow the members, until it does.
func (g *groups) follow(x *group) {
	for failed := false; ; {
		x.mu.Lock()
		want := len(x.members) > 0
		if want && x.recorded == recordedYes || !want && x.recorded == recordedNo {
			done := x.joining
			x.joining, x.syncing, x.gone = nil, false, !want
			x.mu.Unlock()
			if !want {
				g.mu.Lock()
				delete(g.m, contracts.GroupName(x.address.ID))
				g.mu.Unlock()
			}
			for _, f := range done {
				f()
			}
			return
		}
		x.recorded = recordedUnknown
		x.mu.Unlock()
		failed = !g.record(x, want, failed)
		if failed && !g.edge.pause(tidyWait) {
			x.mu.Lock()
			x.syncing = false
			x.mu.Unlock()
			return // the node stops: its entries die with its lease
		}
	}
}

// record writes or removes the node's entry, tells the nodes that go by it, and returns whether that worked. When the
// directory stays away, all nodes are told, and those who join need not wait for its return.
func (g *groups) record(x *group, want, again bool) bool {
	generation := g.edge.generation.Load()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.edge.ctx), connectTime)
	defer cancel()
	var (
		watchers []contracts.NodeID
		err      error
	)
	if want {
		_, watchers, err = g.edge.dir.Connect(ctx, x.address, contracts.Entry{
			Session: g.entry, Node: g.edge.node, Epoch: g.edge.epoch, Since: time.Now(),
		})
	} else {
		watchers, err = g.edge.dir.Disconnect(ctx, x.address, g.entry)
	}
	if err != nil {
		g.edge.metrics.directoryErrors.Inc()
	}
	if err != nil || !g.edge.dir.Trusted() {
		watchers = g.edge.everybody()
	}
	x.mu.Lock()
	if err == nil || !again {
		x.failing = time.Now()
	}
	over := time.Since(x.failing) >= g.edge.blip && len(x.joining) > 0
	x.mu.Unlock()
	if err == nil || !again || over { // all were told at the first failure, but for those who joined since
		g.edge.tell(x.address, watchers)
	}
	x.mu.Lock()
	if err == nil && g.edge.generation.Load() == generation { // else the directory may have lost it since
		x.recorded = recordedNo
		if want {
			x.recorded = recordedYes
		}
	}
	var done []func()
	if want && (err == nil || over) {
		done, x.joining = x.joining, nil
	}
	x.mu.Unlock()
	for _, f := range done {
		f()
	}
	return err == nil
}

// reassert writes the node's entries anew, because the directory may have lost them.
func (g *groups) reassert() {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, x := range g.m {
		x.mu.Lock()
		if len(x.members) > 0 {
			x.recorded = recordedUnknown
			g.sync(x)
		}
		x.mu.Unlock()
	}
}
