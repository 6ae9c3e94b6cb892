package edge

import (
	"context"
	"slices"

	"github.com/beeline-rt/beeline/contracts"
)

// What a directory says of a client's other sessions, when one is recorded, are those in this cluster. So where a client may
// have one session only, those in other clusters are looked up once it is there; and all are, when the link to another
// cluster is back: meanwhile, a client may have connected to both.

// reunite leaves one session to each client that may have but one.
func (e *Edge) reunite() {
	if e.cfg.Sessions != SessionsSingle {
		return
	}
	for batch := range slices.Chunk(e.connections(), lookupBatch) {
		e.reuniteSessions(slices.DeleteFunc(slices.Clone(batch), func(s *Session) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return !s.ready || s.left
		}))
	}
}

// reuniteSessions does so for some. What cannot be looked up is left as it is: when its cluster is back, all are tried.
func (e *Edge) reuniteSessions(sessions []*Session) {
	if len(sessions) == 0 || !slices.ContainsFunc(e.everybody(), contracts.NodeID.Foreign) {
		return
	}
	addresses := make([]contracts.Address, len(sessions))
	for i, s := range sessions {
		addresses[i] = s.identity.Client.Address()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), connectTime)
	defer cancel()
	entries, _ := e.dir.Lookup(ctx, addresses)
	for i, found := range entries {
		e.arrange(sessions[i], slices.DeleteFunc(found, func(x contracts.Entry) bool { return !x.Node.Foreign() }))
	}
}
