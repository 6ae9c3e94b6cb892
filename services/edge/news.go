package edge

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beeline-rt/beeline/contracts"
)

// News are told what becomes of clients; nil functions are not. They are called on any goroutine, and must not wait.
type News struct {
	// Connected is told of a session that is ready, of a client who had no other in this cluster.
	Connected func(c contracts.ClientID, s contracts.SessionID)
	// Disconnected is told of a client whose last session ended here, and who had none anywhere when Config.Linger was over.
	Disconnected func(c contracts.ClientID)
	// Undelivered is told of a message from this node whose recipient had no session: the frame that would have been written.
	Undelivered func(to contracts.ClientID, frame []byte)
}

const (
	newsTick  = 250 * time.Millisecond
	newsBatch = 256     // clients looked up at a time
	maxLeft   = 1 << 17 // clients who have left and may be back; of one more nobody is told
)

// news finds out which changes of sessions are changes of clients. Each node speaks for the sessions that end on it: it asks
// the directory when a client's last session here has ended, and again when the linger is over. If another node has the client
// the first time, it is for that one to tell; the second time, the client is back. In between it hears when another node gets
// the client, and leaves it to that one: it may be gone from there, too, at the second time, and not yet for as long.
type news struct {
	edge   *Edge
	told   News
	missed prometheus.Counter

	mu   sync.Mutex
	gone map[contracts.ClientID]time.Time // guarded by mu: who left here, and when it is to be told
}

func (n *news) init(e *Edge, told News) {
	n.edge, n.told, n.gone = e, told, map[contracts.ClientID]time.Time{}
	n.missed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "beeline_edge_news_missed_total", Help: "Clients who left and of whom nobody was told, because there were too many at a time or the node stopped.",
	})
	e.metrics.all = append(e.metrics.all, n.missed)
}

// came is told that a session was announced; first: the directory had no other of its client.
func (n *news) came(s *Session, first bool) {
	if n.told.Connected == nil && n.told.Disconnected == nil {
		return
	}
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	if !ready {
		return
	}
	n.mu.Lock()
	_, back := n.gone[s.identity.Client]
	delete(n.gone, s.identity.Client)
	n.mu.Unlock()
	if first && !back && n.told.Connected != nil {
		n.told.Connected(s.identity.Client, s.id)
	}
}

// left is told, by the edge's work, that the record of a client's last session on this node was removed. It does not wait.
func (n *news) left(c contracts.ClientID) {
	if n.told.Disconnected == nil {
		return
	}
	at := time.Now().Add(n.edge.cfg.Linger)
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.gone) >= maxLeft {
		n.missed.Inc()
		return
	}
	n.gone[c] = at
	n.edge.work.Go(func() { n.ask(c, at) })
}

// ask leaves a client to the node that has it, if there is one.
func (n *news) ask(c contracts.ClientID, at time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.edge.ctx), connectTime)
	defer cancel()
	where, err := n.edge.dir.Lookup(ctx, []contracts.Address{c.Address()})
	n.mu.Lock()
	if err == nil && len(where[0]) > 0 && n.gone[c].Equal(at) {
		delete(n.gone, c)
	}
	n.mu.Unlock()
	n.edge.routes.counters.lookups.Add(1)
}

// changed is told that an address is elsewhere now. It does not wait.
func (n *news) changed(a contracts.Address) {
	if n.told.Disconnected == nil || a.Kind != contracts.KindClient {
		return
	}
	c := contracts.ClientID(a.ID)
	n.mu.Lock()
	at, gone := n.gone[c]
	n.mu.Unlock()
	if gone {
		n.edge.spawn(func() { n.ask(c, at) })
	}
}

// run tells of those who have not come back until the edge is closed.
func (n *news) run() {
	tick := time.NewTicker(newsTick)
	defer tick.Stop()
	for {
		select {
		case <-n.edge.ctx.Done():
			n.mu.Lock()
			n.missed.Add(float64(len(n.gone)))
			n.mu.Unlock()
			return
		case now := <-tick.C:
			for n.look(now) {
			}
		}
	}
}

// look looks up some of those whose time is over, and returns whether there may be more.
func (n *news) look(now time.Time) bool {
	var due []contracts.ClientID
	n.mu.Lock()
	for c, at := range n.gone {
		if !now.Before(at) {
			due = append(due, c)
		}
		if len(due) == newsBatch {
			break
		}
	}
	n.mu.Unlock()
	if len(due) == 0 {
		return false
	}
	entries, err := n.edge.friends.lookup(due)
	if !n.edge.dir.Trusted() {
		return false // who is not there now may be: they are due again
	}
	var part partialError
	some := errors.As(err, &part) && len(entries) == len(due)
	for i, c := range due {
		if err == nil || some && !part.FailedAt(i) {
			n.settle(c, now, len(entries[i]) > 0)
		}
	}
	return err == nil && len(due) == newsBatch
}

// settle tells of a client who was due at now, unless it is back, or was since and has left again.
func (n *news) settle(c contracts.ClientID, now time.Time, there bool) {
	n.mu.Lock()
	at, gone := n.gone[c]
	due := gone && !now.Before(at)
	if due {
		delete(n.gone, c)
	}
	n.mu.Unlock()
	if due && !there {
		n.told.Disconnected(c)
	}
}

// undelivered is told of a message to a client that ended as offline.
func (n *news) undelivered(m *message) {
	if n.told.Undelivered != nil {
		n.told.Undelivered(contracts.ClientID(m.to.ID), m.frame)
	}
}
