package edge

import (
	"github.com/beeline-rt/beeline/contracts"
)

// joinGroup works off a join request: it is answered when messages to the group reach the session from everywhere.
func (s *Session) joinGroup(req *contracts.Request) {
	name := req.Group
	if !s.mayUse(req, name) {
		return
	}
	s.mu.Lock()
	_, in := s.groups[name]
	full := !in && len(s.groups) >= s.edge.cfg.Groups
	if !full && !in {
		if s.groups == nil {
			s.groups = map[contracts.GroupName]struct{}{}
		}
		s.groups[name] = struct{}{}
	}
	s.mu.Unlock()
	if full {
		s.refuse(req, &contracts.Error{Code: contracts.CodeForbidden, Message: "this session is in too many groups"})
		return
	}
	id := req.ID
	s.edge.groups.join(name, s, func(error) { s.push(contracts.AppendDone(nil, id), receipt{}) })
	s.mu.Lock()
	left := s.left
	s.mu.Unlock()
	if left { // while it joined
		s.edge.groups.leave(name, s)
	}
}

// leaveGroup works off a leave request. To leave a group that one is not in is done already.
func (s *Session) leaveGroup(req *contracts.Request) {
	s.mu.Lock()
	_, in := s.groups[req.Group]
	delete(s.groups, req.Group)
	s.mu.Unlock()
	if in {
		s.edge.groups.leave(req.Group, s)
	}
	s.push(contracts.AppendDone(nil, req.ID), receipt{})
}

// publish works off a publish request. Whoever may join a group may publish to it, as a member or not.
func (s *Session) publish(req *contracts.Request) {
	if !s.mayUse(req, req.Group) {
		s.edge.metrics.outcome(contracts.Forbidden)
		return
	}
	if s.takesOne(req) {
		s.edge.routes.route(&message{
			s: s, id: req.ID, to: req.Group.Address(), frame: contracts.EncodeGroupMsg(s.identity.Client, req.Group, req.Send.Data),
		})
	}
}

func (s *Session) mayUse(req *contracts.Request, name contracts.GroupName) bool {
	if s.identity.Groups != nil && s.identity.Groups.Allows(string(name)) {
		return true
	}
	s.refuse(req, &contracts.Error{Code: contracts.CodeForbidden, Message: "your token does not allow this group"})
	return false
}
