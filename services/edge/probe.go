package edge

import (
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// probe asks all nodes that live whether they have an address, because the directory cannot be asked, or may have lost
// entries. The answer serves those who wait and is not kept: there is no watch to keep it right.
func (r *router) probe(t *target) {
	r.counters.probes.Add(1)
	var nodes []contracts.NodeID
	for _, n := range r.edge.dir.Alive() {
		if n != r.edge.node {
			nodes = append(nodes, n)
		}
	}
	if len(nodes) == 0 {
		r.found(t, nil, time.Time{})
		return
	}
	q := &question{r: r, t: t, nodes: nodes, left: len(nodes)}
	for i, n := range nodes {
		r.edge.courier.Probe(n, t.address, q, uint64(i))
	}
}

// question gathers the answers to a probe. It is a broker.Waiter.
type question struct {
	r     *router
	t     *target
	nodes []contracts.NodeID

	mu     sync.Mutex
	have   []contracts.NodeID // guarded by mu
	silent bool               // guarded by mu: some node did not answer
	left   int                // guarded by mu
}

// Answered takes the answer of the i-th node.
func (q *question) Answered(i uint64, s contracts.Status) {
	q.mu.Lock()
	switch s {
	case contracts.StatusDelivered:
		q.have = append(q.have, q.nodes[i])
	case contracts.StatusNotHere, contracts.StatusNobody:
	default:
		q.silent = true
	}
	q.left--
	last := q.left == 0
	q.mu.Unlock()
	if !last {
		return
	}
	if len(q.have) == 0 && q.silent && !q.r.edge.holds(q.t.address) {
		q.r.unknown(q.t)
		return
	}
	q.r.found(q.t, q.have, time.Time{})
}

// unknown answers what waits for a target of which nobody could say where it is: it was not sent.
func (r *router) unknown(t *target) {
	p := r.part(t.address)
	p.mu.Lock()
	left := append(t.bounced, t.issued...)
	left = append(left, t.next...)
	t.bounced, t.issued, t.next = nil, nil, nil
	t.busy, t.stale = false, false
	p.mu.Unlock()
	for _, m := range left {
		r.waiting.Add(-int64(len(m.frame)))
		m.finish(contracts.StatusUnavailable)
	}
}
