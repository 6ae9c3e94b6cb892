package edge

import (
	"github.com/beeline-rt/beeline/contracts"
)

// Caller brings calls to backend services.
type Caller interface {
	// Call carries out a call of the client that from names: Client, Session and ID. It waits for nothing and keeps no view of c.Data. done
	// is told once what became of it, from any goroutine: data, which is not kept, or the problem.
	Call(c contracts.Call, from contracts.Task, done func(o contracts.CallOutcome, data []byte, problem *contracts.Error))
}

var (
	errCalls     = &contracts.Error{Code: contracts.CodeRateLimited, Message: "too many calls without an answer yet"}
	errNoCaller  = &contracts.Error{Code: contracts.CodeUnavailable, Message: "this server calls no services"}
	errOverflow  = &contracts.Error{Code: contracts.CodeTooLarge, Message: "the answer has no room with all that waits for this connection to read", Unsure: true}
	errCallRight = &contracts.Error{Code: contracts.CodeForbidden, Message: "your token does not allow to call this service"}
)

// call works off a call request.
func (s *Session) call(req *contracts.Request) {
	switch {
	case s.identity.Call == nil || !s.identity.Call.Allows(string(req.Call.Service)):
		s.count(req, contracts.Forbidden)
		s.refuse(req, errCallRight)
		return
	case s.edge.caller == nil:
		s.count(req, contracts.Unavailable)
		s.refuse(req, errNoCaller)
		return
	case int(s.calls.Add(1)) > s.edge.cfg.Calls:
		s.calls.Add(-1)
		s.count(req, contracts.RateLimited)
		s.refuse(req, errCalls)
		return
	}
	id := req.ID
	from := contracts.Task{Client: s.identity.Client, Session: s.id, ID: id}
	s.edge.caller.Call(*req.Call, from, func(o contracts.CallOutcome, data []byte, problem *contracts.Error) {
		s.called(id, o, data, problem)
	})
}

// called answers a call. Whoever comes by the answer of another connection's call would need that one's session.
func (s *Session) called(id uint64, o contracts.CallOutcome, data []byte, problem *contracts.Error) {
	s.calls.Add(-1)
	if problem == nil && s.offer(contracts.AppendAnswered(make([]byte, 0, 64+len(data)), id, data), receipt{}) == contracts.StatusOverload {
		// Instances choose when answers come together, and how large they are: also one that reads as fast as it can may have this.
		o, problem = contracts.CallOverflow, errOverflow
	}
	s.edge.metrics.callOutcomes[o].Inc()
	if problem != nil {
		s.refuse(&contracts.Request{ID: id, HasID: true}, problem)
	}
}
