package gateway

import (
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// nonces remembers the tickets that were used, until they expire: a ticket lets one connection in. Two generations, each
// the life of a ticket, forget without a scan. It is bounded: when it is full, nobody is let in, rather than somebody twice.
//
// It is this gateway's own: with several, a ticket that was stolen within its minute may be used once at each.
type nonces struct {
	most int // of a generation; set once

	mu       sync.Mutex
	old, now map[contracts.TicketNonce]struct{}
	turn     time.Time // when now becomes old
}

const (
	nonceLife = contracts.TicketLife + contracts.TicketSkew
	maxNonces = 1 << 20 // of a generation: 32 MiB or so, 10,000 connects a second
)

// take notes a nonce, and tells whether it was not there before, and whether there was room for it.
func (n *nonces) take(nonce contracts.TicketNonce, at time.Time) (fresh, room bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !at.Before(n.turn) {
		n.old, n.now = n.now, make(map[contracts.TicketNonce]struct{})
		if !at.Before(n.turn.Add(nonceLife)) {
			n.old = nil
		}
		n.turn = at.Add(nonceLife)
	}
	_, before := n.old[nonce]
	_, again := n.now[nonce]
	switch {
	case before || again:
		return false, true
	case len(n.now) >= n.most:
		return true, false
	}
	n.now[nonce] = struct{}{}
	return true, true
}

// giveBack forgets a nonce that let nobody in.
func (n *nonces) giveBack(nonce contracts.TicketNonce) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.now, nonce)
	delete(n.old, nonce)
}
