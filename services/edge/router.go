package edge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	lookupWorkers = 2                      // batches of lookups under way
	lookupBatch   = 256                    // addresses in one
	lookupTime    = 400 * time.Millisecond // for one batch
	routeParts    = 16
	// routeTime is how long a route is gone by: less than the watch that keeps it right, from before the lookup was sent.
	routeTime = contracts.WatchTTL * 9 / 10
	// partTime is how long one is gone by that may not lead to other clusters, because they do not say.
	partTime = time.Second
)

// router finds out where messages go, and remembers it. The directory tells this node when an address that it has looked
// up changes, before the new session is ready; so between the same people a message costs no lookup, and none misses a
// session that was ready before it was sent. A message waits for the lookup of its own address and for nothing else, and
// messages from one sender to one address stay in order.
type router struct {
	edge    *Edge
	parts   [routeParts]routes
	waiting atomic.Int64 // bytes of the messages that wait

	closed    atomic.Bool
	awayUntil atomic.Pointer[time.Time] // when to ask the directory again; nil: it answers

	mu    sync.Mutex
	asked []*target     // to be looked up next; guarded by mu
	wake  chan struct{} // holds one: there is something in asked

	counters struct{ hits, lookups, chased, probes atomic.Uint64 }
}

func newRouter(e *Edge) *router {
	r := &router{edge: e, wake: make(chan struct{}, 1)}
	for i := range r.parts {
		r.parts[i].m = map[contracts.Address]*target{}
	}
	return r
}

func (r *router) part(a contracts.Address) *routes {
	return &r.parts[hash(a.ID)%routeParts]
}

// route takes a message over. It does not wait.
func (r *router) route(m *message) {
	p := r.part(m.to)
	p.mu.Lock()
	t := p.get(m.to, r.edge.cfg.Routes/routeParts)
	if !t.busy && len(t.bounced)+len(t.next) == 0 && time.Now().Before(t.good) {
		// A session that came to this node would be reached faster than what is still on its way to others.
		if here := r.edge.holds(m.to); here == t.here || t.flying == 0 {
			t.here = here
			nodes := t.nodes
			t.flying++
			p.mu.Unlock()
			r.counters.hits.Add(1)
			r.dispatch(t, m, nodes, here, true)
			return
		}
	}
	if r.waiting.Load()+int64(len(m.frame)) > int64(r.edge.cfg.WaitingBytes) {
		p.mu.Unlock()
		m.finish(contracts.StatusUnavailable)
		return
	}
	r.waiting.Add(int64(len(m.frame)))
	t.next = append(t.next, m)
	ask := t.ask()
	p.mu.Unlock()
	if ask {
		r.ask(t)
	}
}

// ask has a target looked up that is busy.
func (r *router) ask(t *target) {
	r.mu.Lock()
	r.asked = append(r.asked, t)
	r.mu.Unlock()
	r.signal()
}

func (r *router) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// changed forgets where an address is, because it is elsewhere now.
func (r *router) changed(a contracts.Address) {
	p := r.part(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.m[a]; t != nil {
		t.good = time.Time{}
		t.stale = t.busy
	}
}

// forget forgets where everything is.
func (r *router) forget() {
	for i := range r.parts {
		p := &r.parts[i]
		p.mu.Lock()
		for _, t := range p.m {
			t.good = time.Time{}
			t.stale = t.busy
		}
		p.mu.Unlock()
	}
}

// resolve looks addresses up until the edge is closed.
func (r *router) resolve() {
	var (
		batch     []*target
		addresses []contracts.Address
	)
	for {
		select {
		case <-r.edge.ctx.Done():
			r.giveUp()
			return
		case <-r.wake:
		}
		for batch = r.take(batch[:0]); len(batch) > 0; batch = r.take(batch[:0]) {
			addresses = addresses[:0]
			for _, t := range batch {
				addresses = append(addresses, t.address)
			}
			began := time.Now()
			entries, err := r.lookup(addresses)
			r.edge.burst(func() { r.settle(batch, entries, err, began) })
		}
	}
}

// lookup asks the directory. While that is away, one question at a time finds out when it is back, and all others are
// answered at once: nothing piles up behind it.
func (r *router) lookup(addresses []contracts.Address) ([][]contracts.Entry, error) {
	if away := r.awayUntil.Load(); away != nil && time.Now().Before(*away) {
		return nil, errAway
	}
	r.counters.lookups.Add(uint64(len(addresses)))
	ctx, cancel := context.WithTimeout(r.edge.ctx, lookupTime)
	defer cancel()
	entries, err := r.edge.dir.Lookup(ctx, addresses)
	var part partialError
	switch {
	case err == nil:
		r.awayUntil.Store(nil)
	case !errors.As(err, &part) || part.Away():
		until := time.Now().Add(lookupTime)
		r.awayUntil.Store(&until)
	}
	return entries, err
}

// partialError is what a directory returns when it could look up some addresses and others not.
type partialError interface {
	error
	// Away tells whether the directory of this node's cluster could look up none.
	Away() bool
	// FailedAt tells whether the i-th could not be looked up. If there are entries all the same, there may be others.
	FailedAt(i int) bool
	// Elsewhere tells whether the i-th is not in this cluster, and only what is in others is not known.
	Elsewhere(i int) bool
	// Doubtful tells whether there are some that are not there, which proves nothing: the directory answers, and may have
	// lost entries.
	Doubtful() bool
}

var errAway = errors.New("the directory is away")

// take moves targets from asked to batch, and what waits for them to issued.
func (r *router) take(batch []*target) []*target {
	r.mu.Lock()
	n := min(len(r.asked), lookupBatch)
	batch = append(batch, r.asked[:n]...)
	left := copy(r.asked, r.asked[n:])
	clear(r.asked[left:])
	if r.asked = r.asked[:left]; left > 0 {
		r.signal() // for another resolver
	}
	r.mu.Unlock()
	for _, t := range batch {
		p := r.part(t.address)
		p.mu.Lock()
		t.issued, t.next = append(t.issued, t.next...), nil
		t.stale = false
		p.mu.Unlock()
	}
	return batch
}

// settle sends on what waited for a batch of lookups. Those that the directory could not answer are asked of the nodes.
func (r *router) settle(batch []*target, entries [][]contracts.Entry, err error, began time.Time) {
	if err != nil {
		r.edge.metrics.directoryErrors.Inc()
	}
	var part partialError
	some := errors.As(err, &part)
	trusted := r.edge.dir.Trusted() // else some of an address's entries may be missing
	for i, t := range batch {
		switch known := err == nil || some && !part.FailedAt(i); {
		case known && trusted:
			r.found(t, r.others(entries[i]), began.Add(routeTime))
		case some && trusted && len(entries[i]) > 0: // not all that there are, perhaps, and so not kept for long
			r.found(t, r.others(entries[i]), began.Add(partTime))
		default:
			r.probe(t)
		}
	}
}

// others returns the other nodes that entries name, each once.
func (r *router) others(entries []contracts.Entry) []contracts.NodeID {
	var nodes []contracts.NodeID
	for _, e := range entries {
		if e.Node != r.edge.node && !slices.Contains(nodes, e.Node) {
			nodes = append(nodes, e.Node)
		}
	}
	return nodes
}

// found sends on what waits for a target, and what comes meanwhile, until nothing does or the route is no longer good.
func (r *router) found(t *target, nodes []contracts.NodeID, good time.Time) {
	p := r.part(t.address)
	p.mu.Lock()
	stale := t.stale // it changed meanwhile, so that nobody there proves nothing
	if !stale {
		t.nodes, t.good = nodes, good
	}
	batch := t.issued
	t.issued = nil
	batch = append(t.bounced, batch...)
	t.bounced = nil
	t.here = r.edge.holds(t.address)
	for len(batch) > 0 {
		here := t.here
		t.flying += len(batch)
		p.mu.Unlock()
		for _, m := range batch {
			r.waiting.Add(-int64(len(m.frame)))
			r.dispatch(t, m, nodes, here, !stale)
		}
		p.mu.Lock()
		batch, stale = nil, false
		if len(t.bounced) == 0 && time.Now().Before(t.good) && r.edge.holds(t.address) == here {
			batch, t.next = t.next, nil
			nodes = t.nodes
		}
	}
	t.busy, t.stale = false, false
	ask := t.ask()
	p.mu.Unlock()
	if ask {
		r.ask(t)
	}
}

// dispatch sends a message to all nodes where its recipient is, and to its sessions here, which need no broker and no
// directory. sure tells whether it is nowhere when these are none; else that is to be found out once more. It is counted as
// flying.
func (r *router) dispatch(t *target, m *message, others []contracts.NodeID, here, sure bool) {
	m.target, m.nodes = t, len(others)
	if here {
		m.nodes++
	}
	switch {
	case m.nodes == 0:
		m.chased = m.chased || sure
		m.Answered(0, contracts.StatusNotHere)
	case len(others) == 0:
		r.edge.deliverHere(t.address, m.frame, m, 0)
	case m.nodes == 1:
		r.edge.courier.Send(others[0], t.address, m.frame, m, 0)
	default:
		all := newTally(m, 0, m.nodes)
		all.missed = func() { r.changed(t.address) } // one of the nodes has it no more
		for _, n := range others {
			r.edge.courier.Send(n, t.address, m.frame, all, 0)
		}
		if here {
			r.edge.deliverHere(t.address, m.frame, all, 0)
		}
	}
}

// landed takes the answer of a message that was dispatched. What did not arrive anywhere is chased once: the recipient may
// have moved. It returns false if the message is on its way again.
func (r *router) landed(m *message, s contracts.Status) bool {
	moved := s == contracts.StatusNotHere || s == contracts.StatusNobody
	again := moved && !m.chased && !r.closed.Load()
	t := m.target
	p := r.part(t.address)
	p.mu.Lock()
	t.flying--
	if moved && m.nodes > 0 {
		t.good = time.Time{}
	}
	if again {
		m.chased = true
		r.waiting.Add(int64(len(m.frame)))
		t.bounced = append(t.bounced, m)
	}
	ask := t.ask()
	p.mu.Unlock()
	if again {
		r.counters.chased.Add(1)
	}
	if ask {
		r.ask(t)
	}
	return !again
}

// giveUp answers what still waits when the edge is closed.
func (r *router) giveUp() {
	r.closed.Store(true)
	for i := range r.parts {
		p := &r.parts[i]
		p.mu.Lock()
		var left []*message
		for _, t := range p.m {
			left = append(left, t.bounced...)
			left = append(left, t.issued...)
			left = append(left, t.next...)
			t.bounced, t.issued, t.next = nil, nil, nil
			t.busy = true // takes nothing more up
		}
		p.mu.Unlock()
		for _, m := range left {
			m.finish(contracts.StatusUnavailable)
		}
	}
}
