package edge

import (
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	payWait    = 500 * time.Millisecond // from a debt to the first try to pay it, which doubles from try to try
	payWaitMax = 5 * time.Second
	// maxOwed is how many changes are kept for one node. Over it, the node is told to forget everything, which costs it far
	// more: it looks up all that it goes by.
	maxOwed = 1024
)

// debts are the changes of which nodes could not be told. What such a node knows may be wrong for as long as a watch lives,
// and it cannot know that it missed something: a link between clusters may have been down for a moment. So it is told
// again and again, until it has heard it or what it knew has ended by itself.
type debts struct {
	wake chan struct{} // holds one: there is something owed

	mu sync.Mutex
	m  map[contracts.NodeID]*debt // guarded by mu
}

// debt is what one node is still to be told. Times are until when it is worth telling.
type debt struct {
	changed map[contracts.Address]time.Time
	all     time.Time // of everything; the zero time: not
	next    time.Time // when it is tried next
	wait    time.Duration
}

// of returns the debt to a node. mu is held.
func (d *debts) of(n contracts.NodeID) *debt {
	x := d.m[n]
	if x == nil {
		x = &debt{changed: map[contracts.Address]time.Time{}, wait: payWait, next: time.Now().Add(payWait)}
		d.m[n] = x
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	return x
}

// add notes that a node does not know of a change.
func (d *debts) add(n contracts.NodeID, a contracts.Address) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.of(n)
	if _, has := x.changed[a]; !has && len(x.changed) >= maxOwed {
		clear(x.changed)
		x.all = time.Now().Add(contracts.WatchTTL)
		return
	}
	x.changed[a] = time.Now().Add(contracts.WatchTTL)
}

// addAll notes that a node may not know of any change.
func (d *debts) addAll(n contracts.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.of(n)
	clear(x.changed)
	x.all = time.Now().Add(contracts.WatchTTL)
}

func (d *debts) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.m)
}

// due returns what is to be told now, and drops what is no longer worth it.
func (d *debts) due() (due []owed) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for n, x := range d.m {
		for a, until := range x.changed {
			if now.After(until) {
				delete(x.changed, a)
			}
		}
		if now.After(x.all) {
			x.all = time.Time{}
		}
		if len(x.changed) == 0 && x.all.IsZero() {
			delete(d.m, n)
			continue
		}
		if now.Before(x.next) {
			continue
		}
		x.wait = min(2*x.wait, payWaitMax)
		x.next = now.Add(x.wait)
		if !x.all.IsZero() {
			due = append(due, owed{debts: d, node: n, until: x.all, all: true})
		}
		for a, until := range x.changed {
			due = append(due, owed{debts: d, node: n, address: a, until: until})
		}
	}
	return due
}

// owed is one thing that a node is told again. It is a broker.Waiter.
type owed struct {
	debts   *debts
	node    contracts.NodeID
	address contracts.Address // unless all
	all     bool
	until   time.Time
}

// Answered drops it when the node has heard it, unless it is owed anew.
func (o *owed) Answered(_ uint64, s contracts.Status) {
	if s != contracts.StatusDelivered {
		return
	}
	d := o.debts
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.m[o.node]
	switch {
	case x == nil:
		return
	case o.all && x.all.Equal(o.until):
		x.all = time.Time{}
	case !o.all && x.changed[o.address].Equal(o.until):
		delete(x.changed, o.address)
	}
	if len(x.changed) == 0 && x.all.IsZero() {
		delete(d.m, o.node)
	}
}

// pay tells the nodes what they missed, until the edge is closed.
func (e *Edge) pay() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.debts.wake:
		}
		for e.debts.count() > 0 && e.pause(payWait/2) {
			due := e.debts.due()
			e.burst(func() {
				for i := range due {
					if o := &due[i]; o.all {
						e.courier.Forget(o.node, o, 0)
					} else {
						e.courier.Changed(o.node, o.address, o, 0)
					}
				}
			})
		}
	}
}

// oweForeign notes that all nodes of other clusters missed something.
func (e *Edge) oweForeign() {
	for _, n := range e.everybody() {
		if n.Foreign() {
			e.debts.addAll(n)
		}
	}
}

// telling waits for the answers of nodes that are told of a change, and notes which of them were not. It is a
// broker.Waiter; ids are places in nodes.
type telling struct {
	sync.WaitGroup

	edge    *Edge
	address contracts.Address
	nodes   []contracts.NodeID
}

// Answered takes one of the answers.
func (t *telling) Answered(i uint64, s contracts.Status) {
	if s != contracts.StatusDelivered {
		t.edge.debts.add(t.nodes[i], t.address)
	}
	t.Done()
}
