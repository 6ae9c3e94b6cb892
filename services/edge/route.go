package edge

import (
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// target is an address to which messages are on their way, or were not long ago, and what is known of where it is.
//
// The way of its messages: with a good route they go at once. Else they wait, in next, and somebody asks the directory;
// while that goes on the target is busy, and whoever settles it owns issued. Nobody asks before every message that was
// sent by the old route has been answered: one of them may come back, because its recipient has moved. It then waits in
// bounced, and goes out again before all that came after it.
type target struct {
	address contracts.Address

	// guarded by the part's mu
	nodes   []contracts.NodeID // other nodes that have it; never changed, only replaced
	here    bool               // whether this node had it when a message was sent last
	good    time.Time          // until when nodes may be gone by; the zero time: not
	busy    bool               // asked for, or being settled
	stale   bool               // it changed while busy: what is being looked up must not be kept
	issued  []*message         // were there when the lookup that is under way began
	next    []*message         // came since
	bounced []*message         // came back
	flying  int                // sent, and not answered yet
}

// idle tells whether nothing depends on the target: it is only a cached route.
func (t *target) idle() bool {
	return !t.busy && t.flying == 0 && len(t.next) == 0 && len(t.bounced) == 0
}

// ask makes the target busy if there is something to find out for, and returns whether it must be asked for. The part's
// mu is held.
func (t *target) ask() bool {
	if t.busy || t.flying > 0 || len(t.bounced)+len(t.next) == 0 {
		return false
	}
	t.busy = true
	return true
}

// routes is a part of the table of targets. It is locked by parts, so that messages to some do not wait for others.
type routes struct {
	mu sync.Mutex
	m  map[contracts.Address]*target
}

// get returns the target of an address, and makes room for it if it is new. mu is held.
func (p *routes) get(a contracts.Address, most int) *target {
	if t := p.m[a]; t != nil {
		return t
	}
	if len(p.m) >= most {
		p.evict()
	}
	t := &target{address: a}
	p.m[a] = t
	return t
}

// evict forgets some targets on which nothing depends. Which ones is left to the order of the map, which is random: the
// next message to one of them costs a lookup.
func (p *routes) evict() {
	looked, gone := 0, 0
	for a, t := range p.m {
		if t.idle() {
			delete(p.m, a)
			gone++
		}
		if looked++; looked == 64 || gone == 8 {
			return
		}
	}
}
