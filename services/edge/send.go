package edge

import (
	"github.com/beeline-rt/beeline/contracts"
)

// message is one send or publish on its way to its outcome. It is the broker.Waiter of all its parts' sum.
type message struct {
	s     *Session
	id    uint64
	to    contracts.Address
	frame []byte

	// set by the router, for each try
	target *target
	nodes  int // to how many nodes it went
	chased bool
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
	if m.s.edge.routes.landed(m, st) {
		m.finish(st)
	}
}

// finish ends the message: counts its outcome, and answers its sender.
func (m *message) finish(st contracts.Status) {
	s := m.s
	s.inFlight.Add(-1)
	o, problem := outcomeOf(st)
	var scratch [128]byte
	if m.to.Kind == contracts.KindGroup && (problem == nil || o == contracts.Offline) {
		if problem != nil { // there are no members, which is no error
			m.nodes = 0
		}
		s.edge.metrics.outcome(contracts.Sent)
		s.push(contracts.AppendSent(scratch[:0], m.id, m.nodes), receipt{})
		return
	}
	s.edge.metrics.outcome(o)
	if problem == nil {
		s.push(contracts.AppendOK(scratch[:0], m.id, o), receipt{})
		return
	}
	s.push(contracts.AppendError(scratch[:0], contracts.Request{ID: m.id, HasID: true}, problem), receipt{})
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
