package edge

import (
	"github.com/beeline-rt/beeline/contracts"
)

// watch works off a watch request: the answer says who is online now, and from then on the session is told of changes.
func (s *Session) watch(req *contracts.Request) {
	names := make([]string, len(req.Clients))
	for i, c := range req.Clients {
		names[i] = string(c)
	}
	clients, id := req.Clients, req.ID
	s.permitted(req, s.identity.Watch, "watch", names, func() { s.observe(id, clients) })
}

// observe watches clients whom the session may watch.
func (s *Session) observe(id uint64, clients []contracts.ClientID) {
	s.mu.Lock()
	fresh := 0
	for _, c := range clients {
		if _, has := s.watches[c]; !has {
			fresh++
		}
	}
	full := len(s.watches)+fresh > s.edge.cfg.Watches
	if !full {
		if s.watches == nil {
			s.watches = make(map[contracts.ClientID]struct{}, fresh)
		}
		for _, c := range clients {
			s.watches[c] = struct{}{}
		}
	}
	s.mu.Unlock()
	if full {
		s.refuse(&contracts.Request{ID: id, HasID: true}, &contracts.Error{Code: contracts.CodeForbidden, Message: "this session watches too many clients"})
		return
	}
	s.edge.friends.watch(s, id, clients)
}

var errNotKnown = &contracts.Error{Code: contracts.CodeUnavailable, Message: "presence is not known at the moment, try again"}

// unwatch works off an unwatch request.
func (s *Session) unwatch(req *contracts.Request) {
	s.mu.Lock()
	for _, c := range req.Clients {
		delete(s.watches, c)
	}
	s.mu.Unlock()
	s.edge.friends.unwatch(s, req.Clients)
	s.push(contracts.AppendDone(nil, req.ID), receipt{})
}
