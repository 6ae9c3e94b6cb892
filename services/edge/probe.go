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
	peers, all := r.edge.dir.Alive(), r.edge.dir.Listed()
	var nodes []contracts.NodeID
	for _, p := range peers {
		if p.Node != r.edge.node {
			nodes = append(nodes, p.Node)
		}
	}
	q := &question{r: r, t: t, nodes: nodes, left: len(nodes), silent: !all}
	if len(nodes) == 0 {
		q.settle()
		return
	}
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
	silent bool               // guarded by mu: some node did not answer, or was not asked because nobody knows of it yet
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
	if last {
		q.settle()
	}
}

// settle draws the conclusion, when there is nobody left to answer.
func (q *question) settle() {
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
