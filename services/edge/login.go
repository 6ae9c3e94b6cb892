package edge

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	connectTime  = 2 * time.Second // for the directory to take a session's record, or to remove it
	maxGhosts    = 1 << 17         // records to be removed later; more die with this node's lease
	unauthorized = "send an auth object with a valid token first"
)

// authenticate works off an auth request.
func (s *Session) authenticate(req *contracts.Request) {
	if s.logged {
		s.refuse(req, &contracts.Error{Code: contracts.CodeBadRequest, Message: "already authenticated"})
		return
	}
	var (
		who Identity
		err error
	)
	if req.Auth.Token != "" {
		// On a goroutine of its own: cryptography takes a deep stack, which this one would keep while the client stays.
		verified := make(chan struct{})
		go func(token string) {
			defer close(verified)
			who, err = s.edge.auth.Token(token)
		}(req.Auth.Token)
		<-verified
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

// join records the session, ends the one that it replaces, tells the nodes that go by the client's old record, and then
// says ready: whatever anybody sends from then on reaches it. It runs beside the reading goroutine, which never waits for
// the directory.
func (e *Edge) join(s *Session) {
	e.becomeKnown(s)
	began := time.Now()
	others, err := e.record(s)
	for err != nil && !errors.Is(err, errLeft) && time.Since(began) < e.blip && e.pause(tidyWait/2) {
		s.conn.Ping()
		others, err = e.record(s)
	}
	switch {
	case errors.Is(err, errLeft):
		return
	case err != nil:
		// The directory is away, and the session is recorded when it is back: until then, nodes ask each other.
		e.tell(s.identity.Client.Address(), e.everybody())
	case e.cfg.Sessions == SessionsSingle:
		e.replace(s.identity.Client, others)
		defer e.reuniteSessions([]*Session{s})
	case len(others) >= e.cfg.MaxPerClient:
		// Else one client could make its record, and every lookup and every message, as large as it likes.
		s.end(contracts.CloseRate, "too many sessions of this client")
		return
	}
	s.announce(contracts.AppendReady(nil, contracts.Ready{
		Client: s.identity.Client, Session: s.id, Node: e.node, Cluster: e.cluster, HeartbeatS: int(e.cfg.Heartbeat / time.Second),
	}))
	e.news.came(s, len(others) == 0)
}

// becomeKnown waits while there may be nodes that do not know this one: it has started right after the directory was
// lost. They would not ask it for its sessions.
func (e *Edge) becomeKnown(s *Session) {
	for !e.dir.Listed() && s.goesOn() && e.pause(tidyWait) {
		s.conn.Ping()
	}
}

var errLeft = errors.New("the session has ended")

// record writes the session's record and tells the nodes that go by an older one. It returns the client's other sessions,
// or errLeft when the session ended meanwhile; its record is then being removed.
func (e *Edge) record(s *Session) ([]contracts.Entry, error) {
	ctx, cancel := context.WithTimeout(e.ctx, connectTime)
	defer cancel()
	client, generation := s.identity.Client, e.generation.Load()
	others, watchers, err := e.dir.Connect(ctx, client.Address(), contracts.Entry{
		Session: s.id, Node: e.node, Epoch: e.epoch, Device: s.device, Since: s.started,
	})
	s.mu.Lock()
	s.tried = true // also after an error: it may have been written
	s.recorded = err == nil
	left := s.left
	s.mu.Unlock()
	if left { // while it was being recorded
		e.depart(client, s.id)
		return nil, errLeft
	}
	if err != nil {
		e.metrics.directoryErrors.Inc()
		e.behind.Store(true)
		return nil, err
	}
	if !e.dir.Trusted() { // then nobody knows who goes by an older record
		watchers = e.everybody()
	}
	// Always, also when the client is on this node already: that session may be about to end, and its end tells nobody.
	e.tell(client.Address(), watchers)
	if e.generation.Load() != generation { // the directory may have lost it since: tend writes it again
		s.mu.Lock()
		s.recorded = false
		s.mu.Unlock()
		e.behind.Store(true)
	}
	return others, nil
}

// announce says ready and lets messages in, in one step: none comes before ready, and none is missed after it.
func (s *Session) announce(ready []byte) {
	s.mu.Lock()
	if s.ending || s.gone {
		s.mu.Unlock()
		return
	}
	s.ready = true
	s.edge.arrivals.Add(1)
	if !s.recorded {
		s.edge.behind.Store(true)
	}
	s.queue.add(ready, receipt{})
	s.edge.roster.add(s.identity.Client, s)
	s.release()
	if time.Since(s.started) > s.edge.cfg.Heartbeat/10 { // its first turn in beat may come too late
		s.conn.Ping()
	}
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

// arrange leaves one session to a client of which several were let in while the directory was away: the one that began last,
// by the clocks of their nodes. It yields only to one that is there: an entry may be left of one that has ended since.
func (e *Edge) arrange(s *Session, others []contracts.Entry) {
	began := s.started.Truncate(time.Millisecond) // as in an entry
	var older []contracts.Entry
	for _, o := range others {
		c := o.Since.Compare(began)
		switch {
		case c < 0 || c == 0 && o.Session < s.id:
			older = append(older, o)
		case o.Node != e.node:
			e.courier.Probe(o.Node, s.identity.Client.Address(), yield{s}, 0)
		default:
			if _, there := e.all.Load(o.Session); there {
				yield{s}.Answered(0, contracts.StatusDelivered)
			}
		}
	}
	e.replace(s.identity.Client, older)
}

// yield ends a session when it is told that a newer one of its client is there.
type yield struct{ s *Session }

// Answered takes the answer of the newer one's node.
func (y yield) Answered(_ uint64, st contracts.Status) {
	if st == contracts.StatusDelivered {
		y.s.edge.spawn(func() { y.s.end(contracts.CloseReplaced, replaced) })
	}
}

const replaced = "replaced by a newer session"

// ignored is a waiter for what nobody waits for.
type ignored struct{}

func (ignored) Answered(uint64, contracts.Status) {}

// leave takes the session out of the roster and removes its record, once.
func (s *Session) leave() {
	s.mu.Lock()
	first := s.logged && !s.left
	tried := s.tried
	s.left = true
	groups, watches := slices.Collect(maps.Keys(s.groups)), slices.Collect(maps.Keys(s.watches))
	s.mu.Unlock()
	if !first {
		return
	}
	s.edge.roster.remove(s.identity.Client, s)
	for _, g := range groups {
		s.edge.groups.leave(g, s)
	}
	s.edge.friends.unwatch(s, watches)
	if tried { // else join sees that it left
		s.edge.work.Go(func() { s.edge.depart(s.identity.Client, s.id) })
	}
}

// depart removes a session's record, or leaves it to [Edge.bury].
func (e *Edge) depart(client contracts.ClientID, session contracts.SessionID) {
	if e.remove(ghost{client, session}, false) {
		return
	}
	e.ghostsMu.Lock()
	defer e.ghostsMu.Unlock()
	if len(e.ghosts) < maxGhosts {
		e.ghosts = append(e.ghosts, ghost{client, session})
	}
}

// ghost is a session that has ended and whose record could not be removed yet. Until it is, messages to the client come
// here too, and are answered with "not here".
type ghost struct {
	client  contracts.ClientID
	session contracts.SessionID
}

// remove removes a record. At a second try, all nodes are told: the first one may have worked, and its answer, with those
// who watch, been lost.
func (e *Edge) remove(g ghost, again bool) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), connectTime)
	defer cancel()
	watchers, err := e.dir.Disconnect(ctx, g.client.Address(), g.session)
	if err != nil {
		e.metrics.directoryErrors.Inc()
		return false
	}
	if again {
		watchers = e.everybody()
	}
	if len(e.roster.of(g.client)) == 0 { // else the nodes are the same
		e.news.left(g.client)
		e.tell(g.client.Address(), watchers)
	}
	return true
}
