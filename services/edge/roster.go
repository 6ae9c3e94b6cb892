package edge

import (
	"slices"
	"sync"

	"github.com/beeline-rt/beeline/contracts"
)

// roster finds the sessions of a client on this node. It is locked by parts, so that connecting clients do not hold up
// messages to others. The zero roster is empty.
type roster struct{ parts [rosterParts]rosterPart }

const rosterParts = 64

type rosterPart struct {
	mu sync.RWMutex
	m  map[contracts.ClientID][]*Session // a slice is never changed, only replaced: readers keep it after unlocking
}

func (r *roster) part(c contracts.ClientID) *rosterPart {
	return &r.parts[hash(string(c))%rosterParts]
}

// hash spreads ids over the parts of a table: FNV-1a, folded.
func hash(id string) uint32 {
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return h ^ h>>13
}

// of returns the sessions of a client. The slice is not to be changed.
func (r *roster) of(c contracts.ClientID) []*Session {
	p := r.part(c)
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.m[c]
}

// sessions returns all sessions of a part.
func (r *roster) sessions(part int) []*Session {
	p := &r.parts[part]
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := make([]*Session, 0, len(p.m))
	for _, sessions := range p.m {
		all = append(all, sessions...)
	}
	return all
}

func (r *roster) add(c contracts.ClientID, s *Session) {
	p := r.part(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = map[contracts.ClientID][]*Session{}
	}
	p.m[c] = append(slices.Clip(p.m[c]), s)
}

// remove takes a session out; it does nothing if the session is not there.
func (r *roster) remove(c contracts.ClientID, s *Session) {
	p := r.part(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(p.m[c]), func(o *Session) bool { return o == s })
	if len(left) == 0 {
		delete(p.m, c)
		return
	}
	p.m[c] = left
}
