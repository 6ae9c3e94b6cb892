package edge

import (
	"context"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// reuniteWait is the time between tries to leave one session to each client.
const reuniteWait = 2 * time.Second

// What a directory says of a client's other sessions, when one is recorded, are those in this cluster. So where a client may
// have one session only, those in other clusters are looked up once it is there. All are looked up again when one of these
// lookups failed, and when another cluster can be reached again: meanwhile, a client may have connected to both.

// reunite leaves one session to each client, whenever there is reason to, until the edge is closed.
func (e *Edge) reunite() {
	if e.cfg.Sessions != SessionsSingle {
		return
	}
	for e.pause(reuniteWait) {
		if !e.disunited.Swap(false) {
			continue
		}
		for batch := range slices.Chunk(e.connections(), lookupBatch) {
			e.reuniteSessions(slices.DeleteFunc(slices.Clone(batch), func(s *Session) bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return !s.ready || s.left
			}))
		}
	}
}

// reuniteSessions does so for some.
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
	entries, err := e.dir.Lookup(ctx, addresses)
	if err != nil {
		e.disunited.Store(true)
	}
	for i, found := range entries {
		e.arrange(sessions[i], slices.DeleteFunc(found, func(x contracts.Entry) bool { return !x.Node.Foreign() }))
	}
}
