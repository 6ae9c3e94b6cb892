package edge

import (
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// payWait is the time between tries to tell a node what it missed.
const payWait = 500 * time.Millisecond

// debts are the nodes that could not be told of a change. What they know may be wrong for as long as a watch lives, and they
// cannot know that they missed something: a link between clusters may have been down for a moment. So they are told to
// forget everything, again and again, until they have heard it or what they knew has ended by itself. There are no more
// than nodes.
type debts struct {
	mu sync.Mutex
	m  map[contracts.NodeID]time.Time // until when it is worth telling
}

func (d *debts) add(n contracts.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.m[n] = time.Now().Add(contracts.WatchTTL)
}

func (d *debts) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.m)
}

// debt is a node that is still to be told.
type debt struct {
	node  contracts.NodeID
	until time.Time
}

// open returns who is still to be told, and drops those of whom it is no longer worth it.
func (d *debts) open() []debt {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	var open []debt
	for n, until := range d.m {
		if now.After(until) {
			delete(d.m, n)
			continue
		}
		open = append(open, debt{n, until})
	}
	return open
}

// paid drops a debt, unless there is a newer one to the same node.
func (d *debts) paid(x debt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.m[x.node].Equal(x.until) {
		delete(d.m, x.node)
	}
}

// pay tells the nodes that missed something, until the edge is closed.
func (e *Edge) pay() {
	for e.pause(payWait) {
		p := paying{debts: &e.debts, open: e.debts.open()}
		p.Add(len(p.open))
		for i, x := range p.open {
			e.courier.Forget(x.node, &p, uint64(i))
		}
		p.Wait()
	}
}

// paying waits for the answers of nodes that are told to forget. It is a broker.Waiter; ids are places in open.
type paying struct {
	sync.WaitGroup

	debts *debts
	open  []debt
}

// Answered takes one of the answers.
func (p *paying) Answered(i uint64, s contracts.Status) {
	if s == contracts.StatusDelivered {
		p.debts.paid(p.open[i])
	}
	p.Done()
}

// oweForeign notes that all nodes of other clusters missed something.
func (e *Edge) oweForeign() {
	for _, n := range e.everybody() {
		if n.Foreign() {
			e.debts.add(n)
		}
	}
}

// telling waits for the answers of nodes that are told something, and notes which of them were not. It is a broker.Waiter;
// ids are places in nodes.
type telling struct {
	sync.WaitGroup

	edge  *Edge
	nodes []contracts.NodeID
}

// Answered takes one of the answers.
func (t *telling) Answered(i uint64, s contracts.Status) {
	if s != contracts.StatusDelivered {
		t.edge.debts.add(t.nodes[i])
	}
	t.Done()
}
