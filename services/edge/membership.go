package edge

import (
	"github.com/beeline-rt/beeline/contracts"
)

// joinGroup works off a join request: it is answered when messages to the group reach the session from everywhere.
func (s *Session) joinGroup(req *contracts.Request) {
	name, id := req.Group, req.ID
	s.permitted(req, s.identity.Groups, "join", []string{string(name)}, func() { s.enter(id, name) })
}

// enter joins a group that the session may join.
func (s *Session) enter(id uint64, name contracts.GroupName) {
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
		s.refuse(&contracts.Request{ID: id, HasID: true}, &contracts.Error{Code: contracts.CodeForbidden, Message: "this session is in too many groups"})
		return
	}
	s.edge.groups.join(name, s, func() { s.push(contracts.AppendDone(nil, id), receipt{}) })
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

// publish works off a publish request. Members may publish, and those whose token allows the group.
func (s *Session) publish(req *contracts.Request) {
	if !s.uses(req.Group) {
		s.edge.metrics.outcome(contracts.Forbidden)
		s.refuse(req, errGroup)
		return
	}
	if s.takesOne(req) {
		s.edge.routes.route(&message{
			s: s, id: req.ID, to: req.Group.Address(), frame: contracts.EncodeGroupMsg(s.identity.Client, req.Group, req.Send.Data),
		})
	}
}

var errGroup = &contracts.Error{Code: contracts.CodeForbidden, Message: "you are no member of this group, and your token does not allow it"}

// uses tells whether the session may publish to a group and see who is in it.
func (s *Session) uses(name contracts.GroupName) bool {
	if s.identity.Groups != nil && s.identity.Groups.Allows(string(name)) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, in := s.groups[name]
	return in
}
