package edge

import (
	"context"
	"log/slog"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	connectTime  = 2 * time.Second        // for the directory to take a session's record
	departTries  = 8                      // to remove it
	departWait   = 100 * time.Millisecond // between the first two; doubles
	unauthorized = "send an auth object with a valid token first"
)

// authenticate works off an auth request.
func (s *Session) authenticate(req contracts.Request) {
	if s.logged {
		s.refuse(req, &contracts.Error{Code: contracts.CodeBadRequest, Message: "already authenticated"})
		return
	}
	var (
		who Identity
		err error
	)
	if req.Auth.Token != "" {
		who, err = s.edge.auth.Token(req.Auth.Token)
	} else {
		who, err = s.edge.auth.Name(req.Auth.Client)
	}
	if err != nil {
		s.edge.metrics.refusedLogins.Inc()
		s.refuse(req, &contracts.Error{Code: contracts.CodeUnauthorized, Message: err.Error()})
		s.end(contracts.CloseUnauthorized, "unauthorized")
		return
	}
	s.login(who, req.Auth.Device)
}

// login makes the session that of a client. `ready` follows when the directory has it.
func (s *Session) login(who Identity, device string) {
	s.identity, s.device = who, device
	s.mu.Lock()
	if s.ending || s.gone {
		s.mu.Unlock()
		return
	}
	s.logged = true
	s.setTimer(0, nil)
	if !who.Expires.IsZero() {
		s.setTimer(time.Until(who.Expires), func() { s.end(contracts.CloseUnauthorized, "token expired") })
	}
	s.mu.Unlock()
	s.edge.strange.Add(-1)
	s.edge.work.Go(func() { s.edge.join(s) })
}

// join records the session, ends the one that it replaces, and says ready. It runs beside the reading goroutine, which
// never waits for the directory.
func (e *Edge) join(s *Session) {
	ctx, cancel := context.WithTimeout(e.ctx, connectTime)
	defer cancel()
	client := s.identity.Client
	others, err := e.dir.Connect(ctx, client, contracts.Entry{
		Session: s.id, Node: e.node, Epoch: e.epoch, Device: s.device, Since: s.started,
	})
	s.mu.Lock()
	s.recorded = true // also after an error: it may have been written
	left := s.left
	s.mu.Unlock()
	if left { // while it was being recorded
		e.depart(client, s.id)
		return
	}
	if err != nil {
		e.metrics.directoryErrors.Inc()
		s.end(contracts.CloseOverload, "the directory is not available")
		return
	}
	if e.cfg.Sessions == SessionsSingle {
		e.replace(client, others)
	}
	s.announce(contracts.AppendReady(nil, contracts.Ready{
		Client: client, Session: s.id, Node: e.node, Cluster: e.cluster, HeartbeatS: int(e.cfg.Heartbeat / time.Second),
	}))
}

// announce says ready and lets messages in, in one step: none comes before ready, and none is missed after it.
func (s *Session) announce(ready []byte) {
	s.mu.Lock()
	if s.ending || s.gone {
		s.mu.Unlock()
		return
	}
	s.queue.add(ready, receipt{})
	s.edge.roster.add(s.identity.Client, s)
	s.release()
}

// replace ends the client's older sessions. Each removes its own record: this session takes nobody's place but by being
// recorded later, so that when two connect at once, exactly one sees the other.
func (e *Edge) replace(client contracts.ClientID, others []contracts.Entry) {
	for _, o := range others {
		switch o.Node {
		case e.node:
			e.Evict(client, o.Session, contracts.CloseReplaced, ignored{}, 0)
		default:
			e.courier.Evict(o.Node, client, o.Session, contracts.CloseReplaced, ignored{}, 0)
		}
	}
}

// ignored is a waiter for what nobody waits for.
type ignored struct{}

func (ignored) Answered(uint64, contracts.Status) {}

// leave takes the session out of the roster and removes its record, once.
func (s *Session) leave() {
	s.mu.Lock()
	first := s.logged && !s.left
	recorded := s.recorded
	s.left = true
	s.mu.Unlock()
	if !first {
		return
	}
	s.edge.roster.remove(s.identity.Client, s)
	if recorded { // else join sees that it left
		s.edge.work.Go(func() { s.edge.depart(s.identity.Client, s.id) })
	}
}

// depart removes a session's record, and tries again while the directory is away. A record that stays is found out by
// the first message to it, which this node answers with "not here", and counts no longer than this node's lease.
func (e *Edge) depart(client contracts.ClientID, session contracts.SessionID) {
	wait := departWait
	for range departTries {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), connectTime)
		err := e.dir.Disconnect(ctx, client, session)
		cancel()
		if err == nil {
			return
		}
		e.metrics.directoryErrors.Inc()
		select {
		case <-e.ctx.Done():
			return
		case <-time.After(wait):
			wait *= 2
		}
	}
	e.log.Warn("a session's record could not be removed", slog.String("session", string(session)))
}
