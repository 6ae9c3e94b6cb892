package edge

import (
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	tidyWait      = 250 * time.Millisecond // between tries to write what the directory does not have yet
	buryWait      = time.Second            // between tries to remove what it still has
	assertWorkers = 128                    // records written anew at a time; the directory gathers them into pipelines
)

// tend keeps the directory in step with the sessions of this node, which are the truth: when entries may have been lost it
// writes them all anew; those that could not be written or removed while it was away, it writes and removes when it is
// back. When the node stops, what is left dies with its lease.
func (e *Edge) tend() {
	tick := time.NewTicker(tidyWait)
	defer tick.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.dir.Restored():
			e.metrics.restored.Inc()
			e.generation.Add(1) // before anything else: what is being recorded now may be lost
			e.forget()          // the watches that kept it right are lost too
			e.oweForeign()      // theirs as well, and nobody else tells them
			e.groups.reassert()
			e.assert(true)
			e.disunited.Store(true)
		case <-e.dir.Missed():
			e.metrics.missed.Inc()
			e.forget()
			e.disunited.Store(true)
		case <-tick.C:
			if e.behind.Swap(false) {
				e.assert(false)
			}
		}
	}
}

// bury removes the records of ghosts, as far as the directory takes that, until the edge is closed. It is apart from tend:
// who is there comes before who is not.
func (e *Edge) bury() {
	for e.pause(buryWait) {
		e.ghostsMu.Lock()
		ghosts := e.ghosts
		e.ghosts = nil
		e.ghostsMu.Unlock()
		for i, g := range ghosts {
			if e.ctx.Err() != nil || !e.remove(g, true) {
				e.ghostsMu.Lock()
				e.ghosts = append(e.ghosts, ghosts[i:]...)
				e.ghostsMu.Unlock()
				break
			}
		}
	}
}

// assert writes the records of sessions: of all, or of those that the directory does not have yet.
func (e *Edge) assert(all bool) {
	work := make(chan *Session)
	var workers sync.WaitGroup
	started := 0
	for _, s := range e.connections() {
		s.mu.Lock()
		due := s.ready && !s.left && (all || !s.recorded)
		s.mu.Unlock()
		if !due {
			continue
		}
		if started < assertWorkers {
			started++
			workers.Go(func() {
				for s := range work {
					others, err := e.record(s) // what fails is tried again
					if err == nil && e.cfg.Sessions == SessionsSingle {
						e.arrange(s, others)
					}
				}
			})
		}
		work <- s
	}
	close(work)
	workers.Wait()
}

// tell makes other nodes forget where an address is, and returns when they have, or when the time for their answer is over.
func (e *Edge) tell(a contracts.Address, nodes []contracts.NodeID) {
	e.friends.changed(a) // here it is known at once
	t := telling{edge: e, address: a, nodes: nodes}
	for i, n := range nodes {
		if n != e.node {
			t.Add(1)
			e.courier.Changed(n, a, &t, uint64(i))
		}
	}
	t.Wait()
}

// everybody lists all nodes that are alive, for what may concern any of them.
func (e *Edge) everybody() []contracts.NodeID {
	peers := e.dir.Alive()
	nodes := make([]contracts.NodeID, len(peers))
	for i, p := range peers {
		nodes[i] = p.Node
	}
	return nodes
}

// answers waits for a number of answers, whatever they are. It is a broker.Waiter.
type answers struct{ sync.WaitGroup }

// Answered takes one of them.
func (a *answers) Answered(uint64, contracts.Status) { a.Done() }

// pause waits, and returns false when the edge is closed meanwhile.
func (e *Edge) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-e.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
