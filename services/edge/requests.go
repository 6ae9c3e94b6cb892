package edge

import (
	"bytes"
	"log/slog"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/beeline-rt/beeline/contracts"
)

// handle works off one frame from the client, on the reading goroutine. It waits for nothing.
func (s *Session) handle(frame []byte) {
	s.edge.burst(func() { s.handleWithin(frame) })
}

// handleWithin is handle for one of several frames that came at once, within a burst of the caller's.
func (s *Session) handleWithin(frame []byte) {
	if !s.goesOn() {
		return // it was told why; what it goes on to send is read only to get at its answer
	}
	defer s.contain()
	if !utf8.Valid(frame) {
		s.end(contracts.CloseInvalidData, "not UTF-8")
		return
	}
	s.lines(frame)
}

func (s *Session) lines(frame []byte) {
	now := time.Now()
	within := s.bytes.AllowN(now, len(frame))
	if len(bytes.TrimLeft(frame, "\n")) == 0 { // costs as much as a request
		if !s.requests.AllowN(now, 1) {
			s.strike()
		}
		return
	}
	for len(frame) > 0 {
		line := frame
		if i := bytes.IndexByte(frame, '\n'); i >= 0 {
			line, frame = frame[:i], frame[i+1:]
		} else {
			frame = nil
		}
		if len(line) == 0 {
			continue
		}
		if !s.request(line, now, within) {
			return
		}
	}
}

// request works off one object. It returns false when the session takes no more.
func (s *Session) request(line []byte, now time.Time, within bool) bool {
	decoded, bad := contracts.DecodeRequest(line)
	req := &decoded
	switch req.Op {
	case contracts.OpSend, contracts.OpPublish:
		s.edge.metrics.messages.Inc()
	case contracts.OpCall:
		s.edge.metrics.calls.Inc()
	}
	if !within || !s.requests.AllowN(now, 1) {
		return s.overRate(req)
	}
	s.strikes = max(0, s.strikes-1)
	switch {
	case bad != nil:
		s.count(req, contracts.BadRequest)
		s.refuse(req, bad)
	case req.Op == contracts.OpPing:
		s.push(contracts.AppendPong(nil, *req), receipt{})
	case req.Op == contracts.OpPong: // that it came is enough
	case req.Op == contracts.OpAuth:
		s.authenticate(req)
	case !s.logged:
		s.count(req, contracts.Forbidden)
		s.refuse(req, &contracts.Error{Code: contracts.CodeUnauthorized, Message: unauthorized})
		s.end(contracts.CloseUnauthorized, "unauthorized")
	case req.Op == contracts.OpSend:
		s.send(req)
	case req.Op == contracts.OpPublish:
		s.publish(req)
	case req.Op == contracts.OpCall:
		s.call(req)
	case req.Op == contracts.OpJoin:
		s.joinGroup(req)
	case req.Op == contracts.OpLeave:
		s.leaveGroup(req)
	case req.Op == contracts.OpMembers:
		s.members(req)
	case req.Op == contracts.OpWatch:
		s.watch(req)
	case req.Op == contracts.OpUnwatch:
		s.unwatch(req)
	}
	return s.goesOn()
}

func (s *Session) goesOn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ending && !s.gone
}

// overRate refuses a request, and ends a session that does not slow down.
func (s *Session) overRate(req *contracts.Request) bool {
	s.count(req, contracts.RateLimited)
	if !s.strike() {
		return false
	}
	s.refuse(req, &contracts.Error{Code: contracts.CodeRateLimited, Message: "too many requests, slow down"})
	return s.goesOn()
}

// strike counts a request over the rate against those within it, and returns false when that was one too many.
func (s *Session) strike() bool {
	if s.strikes++; s.strikes <= s.edge.cfg.RateStrikes {
		return true
	}
	s.end(contracts.CloseRate, "went on after rate_limited")
	return false
}

// contain keeps a fault in the handling of one frame to the session that sent it.
func (s *Session) contain() {
	if p := recover(); p != nil {
		s.edge.log.Error("fault while handling a frame", slog.String("session", string(s.id)), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		s.edge.metrics.faults.Inc()
		s.end(contracts.CloseInternal, "internal error")
	}
}

// count counts the outcome of a request that was refused, if it was a message or a call.
func (s *Session) count(req *contracts.Request, o contracts.Outcome) {
	switch req.Op {
	case contracts.OpSend, contracts.OpPublish:
		s.edge.metrics.outcome(o)
	case contracts.OpCall:
		s.edge.metrics.callOutcomes[contracts.CallOutcome(o)].Inc() // those of a refusal have the same names
	}
}

// refuse answers a request with an error.
func (s *Session) refuse(req *contracts.Request, e *contracts.Error) {
	s.push(contracts.AppendError(nil, *req, e), receipt{})
}
