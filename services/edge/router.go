package edge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	lookupWorkers = 2                      // batches of lookups under way
	lookupBatch   = 256                    // addresses in one
	lookupTime    = 400 * time.Millisecond // for one batch
)

// router finds out where messages go. A message waits for the lookup of its own address and for nothing else; messages
// to one address stay in order; a lookup answers only those that were there when it was asked, so that no message misses
// a session that was ready before it was sent. Lookups are gathered while others are under way.
type router struct {
	edge    *Edge
	waiting atomic.Int64 // bytes of all messages in the table

	awayUntil atomic.Pointer[time.Time] // when to ask the directory again; nil: it answers

	mu    sync.Mutex // guards the following
	table map[contracts.ClientID]*address
	asked []*address // to be looked up next

	wake chan struct{} // holds one: there is something in asked
}

// address is a client to which messages are on their way. Between being taken from asked and being settled, one
// resolver owns it, but for next.
type address struct {
	client contracts.ClientID
	issued []*message // answered by the lookup that is under way
	next   []*message // came since; guarded by router.mu
}

func newRouter(e *Edge) *router {
	return &router{edge: e, table: map[contracts.ClientID]*address{}, wake: make(chan struct{}, 1)}
}

// route takes a message over. It does not wait.
func (r *router) route(m *message) {
	if r.waiting.Add(int64(len(m.frame))) > int64(r.edge.cfg.WaitingBytes) {
		r.waiting.Add(-int64(len(m.frame)))
		m.Answered(0, contracts.StatusUnavailable)
		return
	}
	r.mu.Lock()
	a := r.table[m.to]
	if a == nil {
		a = &address{client: m.to}
		r.table[m.to] = a
		r.asked = append(r.asked, a)
	}
	a.next = append(a.next, m)
	r.mu.Unlock()
	r.signal()
}

func (r *router) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// resolve looks addresses up until the edge is closed.
func (r *router) resolve() {
	var (
		batch   []*address
		clients []contracts.ClientID
	)
	for {
		select {
		case <-r.edge.ctx.Done():
			r.giveUp()
			return
		case <-r.wake:
		}
		for batch = r.take(batch[:0]); len(batch) > 0; batch = r.take(batch[:0]) {
			clients = clients[:0]
			for _, a := range batch {
				clients = append(clients, a.client)
			}
			entries, err := r.lookup(clients)
			r.edge.burst(func() { r.settle(batch, entries, err) })
		}
	}
}

// lookup asks the directory. While that is away, one question at a time finds out when it is back, and all others are
// answered at once: nothing piles up behind it, and messages within this node go on.
func (r *router) lookup(clients []contracts.ClientID) ([][]contracts.Entry, error) {
	if away := r.awayUntil.Load(); away != nil && time.Now().Before(*away) {
		return nil, errAway
	}
	ctx, cancel := context.WithTimeout(r.edge.ctx, lookupTime)
	defer cancel()
	entries, err := r.edge.dir.Lookup(ctx, clients)
	var part partialError
	switch {
	case err == nil:
		r.awayUntil.Store(nil)
	case !errors.As(err, &part):
		until := time.Now().Add(lookupTime)
		r.awayUntil.Store(&until)
	}
	return entries, err
}

// partialError is what a directory returns when it could look up some addresses and others not.
type partialError interface {
	error
	// FailedAt tells whether the i-th could not be looked up.
	FailedAt(i int) bool
}

var errAway = errors.New("the directory is away")

// take moves addresses from asked to batch, and what waits for them to issued.
func (r *router) take(batch []*address) []*address {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.asked), lookupBatch)
	batch = append(batch, r.asked[:n]...)
	left := copy(r.asked, r.asked[n:])
	clear(r.asked[left:])
	r.asked = r.asked[:left]
	if len(r.asked) > 0 {
		r.signal() // for another resolver
	}
	for _, a := range batch {
		a.issued, a.next = a.next, a.issued[:0]
	}
	return batch
}

// settle sends on what waited for a batch of lookups, then asks again for those to whom more came meanwhile.
func (r *router) settle(batch []*address, entries [][]contracts.Entry, err error) {
	if err != nil {
		r.edge.metrics.directoryErrors.Inc()
	}
	var part partialError
	some := errors.As(err, &part)
	for i, a := range batch {
		var at []contracts.Entry
		failed := err
		if err == nil || some && !part.FailedAt(i) {
			at, failed = entries[i], nil
		}
		for j, m := range a.issued {
			r.waiting.Add(-int64(len(m.frame)))
			r.dispatch(m, at, failed)
			a.issued[j] = nil
		}
	}
	r.mu.Lock()
	for _, a := range batch {
		if len(a.next) == 0 {
			delete(r.table, a.client)
		} else {
			r.asked = append(r.asked, a)
		}
	}
	r.mu.Unlock()
}

// dispatch sends a message to all nodes where its recipient is. Sessions on this node get it without the broker, also
// while the directory is away.
func (r *router) dispatch(m *message, at []contracts.Entry, err error) {
	var nodes [8]contracts.NodeID // other nodes, each once
	others := nodes[:0]
entries:
	for _, entry := range at {
		if entry.Node == r.edge.node {
			continue
		}
		for _, n := range others {
			if n == entry.Node {
				continue entries
			}
		}
		others = append(others, entry.Node)
	}
	here := len(r.edge.roster.of(m.to)) > 0
	switch {
	case here && len(others) == 0:
		r.edge.deliverHere(m.to, m.frame, m, 0)
	case len(others) == 1 && !here:
		r.edge.courier.Send(others[0], m.to, m.frame, m, 0)
	case len(others) > 0:
		r.spread(m, others, here)
	case err != nil:
		m.Answered(0, contracts.StatusUnavailable)
	default:
		m.Answered(0, contracts.StatusNotHere)
	}
}

// spread sends a message to several places, and makes one answer of theirs.
func (r *router) spread(m *message, others []contracts.NodeID, here bool) {
	all := &tally{w: m, best: contracts.StatusNotHere}
	n := len(others)
	if here {
		n++
	}
	all.left.Store(int32(n))
	for _, node := range others {
		r.edge.courier.Send(node, m.to, m.frame, all, 0)
	}
	if here {
		r.edge.deliverHere(m.to, m.frame, all, 0)
	}
}

// giveUp answers what still waits when the edge is closed.
func (r *router) giveUp() {
	r.mu.Lock()
	var left []*message
	for _, a := range r.asked {
		left = append(left, a.next...)
		delete(r.table, a.client)
	}
	r.asked = nil
	r.mu.Unlock()
	for _, m := range left {
		m.Answered(0, contracts.StatusUnavailable)
	}
}
