package edge

import (
	"github.com/beeline-rt/beeline/contracts"
)

// message is one send or publish on its way to its outcome. It is the broker.Waiter of all its parts' sum.
type message struct {
	s     sender
	id    uint64
	to    contracts.Address
	frame []byte

	// set by the router, for each try
	target *target
	nodes  int // to how many nodes it went
	chased bool
}

// sender is who a message is from: a session, or a program that has none here.
type sender interface {
	home() *Edge
	// settle takes what became of the message, once, after that was counted. It does not wait.
	settle(m *message, o contracts.Outcome, problem *contracts.Error)
}

// send works off a send request: it checks whether the client may, and hands the message to the router.
func (s *Session) send(req *contracts.Request) {
	if s.identity.Send == nil || !s.identity.Send.Allows(string(req.Send.To)) {
		s.count(req, contracts.Forbidden)
		s.refuse(req, &contracts.Error{Code: contracts.CodeForbidden, Message: "your token does not allow to send to this client"})
		return
	}
	if s.takesOne(req) {
		s.edge.routes.route(&message{
			s: s, id: req.ID, to: req.Send.To.Address(), frame: contracts.EncodeMsg(s.identity.Client, req.Send.Data),
		})
	}
}

// takesOne makes room for one more message in flight, or refuses the request.
func (s *Session) takesOne(req *contracts.Request) bool {
	if int(s.inFlight.Add(1)) <= s.edge.cfg.InFlight {
		return true
	}
	s.inFlight.Add(-1)
	s.count(req, contracts.RateLimited)
	s.refuse(req, &contracts.Error{Code: contracts.CodeRateLimited, Message: "too many messages without an answer yet"})
	return false
}

// Answered takes the answer of the message's nodes.
func (m *message) Answered(_ uint64, st contracts.Status) {
	if m.s.home().routes.landed(m, st) {
		m.finish(st)
	}
}

// finish ends the message: counts its outcome, and answers its sender.
func (m *message) finish(st contracts.Status) {
	o, problem := outcomeOf(st)
	if m.to.Kind == contracts.KindGroup && (problem == nil || o == contracts.Offline) {
		if problem != nil { // there are no members, which is no error
			m.nodes = 0
		}
		o, problem = contracts.Sent, nil
	}
	e := m.s.home()
	e.metrics.outcome(o)
	if o == contracts.Offline {
		e.news.undelivered(m)
	}
	m.s.settle(m, o, problem)
}

func (s *Session) home() *Edge { return s.edge }

// settle answers the client.
func (s *Session) settle(m *message, o contracts.Outcome, problem *contracts.Error) {
	s.inFlight.Add(-1)
	var scratch [128]byte
	answer := scratch[:0]
	switch {
	case problem != nil:
		answer = contracts.AppendError(answer, contracts.Request{ID: m.id, HasID: true}, problem)
	case o == contracts.Sent:
		answer = contracts.AppendSent(answer, m.id, m.nodes)
	default:
		answer = contracts.AppendOK(answer, m.id, o)
	}
	s.push(answer, receipt{})
}

var (
	errOffline     = &contracts.Error{Code: contracts.CodeOffline, Message: "the recipient is not connected"}
	errUnknown     = &contracts.Error{Code: contracts.CodeUnknown, Message: "no answer in time: the message may or may not have arrived"}
	errUnavailable = &contracts.Error{Code: contracts.CodeUnavailable, Message: "the message was not sent, try again"}
)

// outcomeOf turns what became of a message into what its sender is told.
func outcomeOf(st contracts.Status) (contracts.Outcome, *contracts.Error) {
	switch st {
	case contracts.StatusDelivered:
		return contracts.Delivered, nil
	case contracts.StatusNotHere, contracts.StatusNobody:
		return contracts.Offline, errOffline
	case contracts.StatusOverload, contracts.StatusUnavailable:
		return contracts.Unavailable, errUnavailable
	}
	return contracts.Unknown, errUnknown
}
