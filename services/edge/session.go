package edge

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/beeline-rt/beeline/contracts"
)

// connection is what carries a session's frames: a WebSocket, or raw TCP. One frame is written at a time.
type connection interface {
	// attach says whose connection it is, before anything else.
	attach(s *Session)
	// Write writes one frame, which is buf but for its first headroom bytes: these are the connection's. It returns true if
	// that could be done at once. Else it does not wait, and the edge hears of the end by Session.written; the bytes are not
	// to change until then.
	Write(buf []byte) bool
	// Ping asks the client for a sign of life, and does not wait. A client that gives none is cut off by the connection.
	Ping()
	// Close says why and closes, after the write that is under way.
	Close(code contracts.CloseCode, reason string)
	// Cut closes at once.
	Cut()
}

// Session is one connection of a client.
//
// Its life: open (not logged in, then logged in) -> ending (takes nothing more in; what waits is still written, unless
// the client was too slow) -> gone. Every receipt it took is settled exactly once on the way.
type Session struct {
	// set once
	edge    *Edge
	id      contracts.SessionID
	conn    connection
	started time.Time

	// owned by the reading goroutine
	requests *rate.Limiter
	bytes    *rate.Limiter
	strikes  int // requests refused for their rate, less those allowed

	// set by log-in on the reading goroutine, before the session is in the roster
	identity Identity
	device   string

	inFlight atomic.Int32 // messages that wait for their outcome
	calls    atomic.Int32 // calls that do

	mu        sync.Mutex // guards the following
	queue     queue
	writing   *batch // the write under way
	marked    bool   // it will be flushed at the end of a burst
	bulked    bool   // it will be flushed with the others that get the same
	logged    bool   // logged in
	ending    bool
	gone      bool
	tried     bool                             // the directory may have a record of it
	recorded  bool                             // the directory has a record of it
	ready     bool                             // it was announced
	left      bool                             // its record is being removed, or will be
	groups    map[contracts.GroupName]struct{} // that it is in
	watches   map[contracts.ClientID]struct{}  // that it watches
	closeWith contracts.CloseCode
	reason    string
	timer     *time.Timer // log-in deadline, then the token's expiry, then the end's deadline
}

func newSession(e *Edge, c connection) *Session {
	s := &Session{
		edge: e, id: contracts.NewSessionID(), conn: c, started: time.Now(),
		requests: rate.NewLimiter(limit(e.cfg.MessageRate), e.cfg.MessageBurst),
		bytes:    rate.NewLimiter(limit(e.cfg.ByteRate), e.cfg.ByteBurst),
	}
	c.attach(s)
	e.all.Store(s.id, s)
	s.after(e.cfg.AuthTimeout, func() { s.end(contracts.CloseUnauthorized, "no valid auth in time") })
	return s
}

func limit(perSecond float64) rate.Limit {
	if perSecond == 0 {
		return rate.Inf
	}
	return rate.Limit(perSecond)
}

// belongsTo tells whether the session is logged in as this client.
func (s *Session) belongsTo(c contracts.ClientID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logged && s.identity.Client == c
}

// after sets the session's one timer.
func (s *Session) after(d time.Duration, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.ending {
		return
	}
	s.setTimer(d, f)
}

func (s *Session) setTimer(d time.Duration, f func()) {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if f != nil {
		s.timer = time.AfterFunc(d, f)
	}
}

// push puts a frame into the queue. It returns 0 when the session took it, and will settle r; else r is not settled, and
// the status says why. It never waits for the client: one that is too slow is ended.
func (s *Session) push(frame []byte, r receipt) contracts.Status {
	st := s.offer(frame, r)
	if st == contracts.StatusOverload {
		s.end(contracts.CloseSlow, tooSlow)
	}
	return st
}

const tooSlow = "did not read fast enough"

// offer is push, but leaves it to the caller to end a session that is too slow.
func (s *Session) offer(frame []byte, r receipt) contracts.Status {
	if st := s.take(frame, r); st != 0 {
		return st
	}
	s.release()
	return 0
}

// take puts a frame into the queue, if it takes it; then s.mu stays locked.
func (s *Session) take(frame []byte, r receipt) contracts.Status {
	s.mu.Lock()
	if s.ending || s.gone {
		s.mu.Unlock()
		return contracts.StatusNotHere
	}
	queued := s.queue.bytes + len(frame)
	if s.writing != nil {
		queued += len(s.writing.buf) - headroom
	}
	if queued > s.edge.cfg.QueueBytes {
		s.mu.Unlock()
		return contracts.StatusOverload
	}
	s.queue.add(frame, r)
	return 0
}

// release unlocks s.mu, and has what waits written, unless a write is under way: that one's end sees to it.
func (s *Session) release() {
	mark := s.writing == nil && !s.marked && s.queue.first != nil
	if mark {
		s.marked = true
	}
	s.mu.Unlock()
	if mark {
		s.edge.writes.Mark(s)
	}
}

// flush starts to write what waits.
func (s *Session) flush() {
	defer s.contain()
	s.mu.Lock()
	s.marked = false
	next := s.start()
	s.mu.Unlock()
	s.write(next)
}

// offerBulk is offer for a frame that goes to many: it holds up nothing that goes to one.
func (s *Session) offerBulk(frame []byte) contracts.Status {
	if st := s.take(frame, receipt{}); st != 0 {
		return st
	}
	mark := s.writing == nil && !s.marked && !s.bulked
	s.bulked = s.bulked || mark
	s.mu.Unlock()
	if mark {
		s.edge.bulk.Mark(s)
	}
	return 0
}

// flushBulk is flush for what offerBulk took.
func (s *Session) flushBulk() {
	s.mu.Lock()
	s.bulked = false
	s.mu.Unlock()
	s.flush()
}

// start takes the next batch for writing; nil if there is none, or a write is under way. s.mu is held.
func (s *Session) start() *batch {
	if s.writing != nil {
		return nil
	}
	s.writing = s.queue.next()
	return s.writing
}

// write writes what was started. What gathers meanwhile waits for its turn: whoever flushes has other sessions to see to. The
// last line break is not needed in a frame.
func (s *Session) write(b *batch) {
	if b != nil && s.conn.Write(b.buf[:len(b.buf)-1]) {
		s.wrote()
	}
}

// written is told by the connection that a write which could not be done at once is done.
func (s *Session) written() {
	s.edge.burst(s.wrote)
}

// wrote settles the write under way, and has what gathered meanwhile written next.
func (s *Session) wrote() {
	s.mu.Lock()
	done := s.writing
	if done == nil { // gone meanwhile, and settled
		s.mu.Unlock()
		return
	}
	s.writing = nil
	closing := s.ending && s.queue.first == nil && !s.gone
	s.release()
	if closing {
		s.conn.Close(s.closeWith, s.reason)
	}
	if len(done.receipts) > 0 {
		s.edge.metrics.delivered(len(done.receipts))
		done.settle(contracts.StatusDelivered)
	}
	done.free()
}

// end ends the session: it takes nothing more in, its record goes, what waits is still written, then the connection is
// closed with the code. A client that was too slow gets nothing more. The first call counts.
func (s *Session) end(code contracts.CloseCode, reason string) {
	s.mu.Lock()
	if s.ending || s.gone {
		s.mu.Unlock()
		return
	}
	s.ending, s.closeWith, s.reason = true, code, reason
	var dropped queue
	if code == contracts.CloseSlow {
		dropped, s.queue = s.queue, queue{}
	}
	next := s.start()
	now := s.writing == nil || code == contracts.CloseSlow
	s.setTimer(s.edge.cfg.WriteTime, s.conn.Cut)
	s.mu.Unlock()
	s.write(next)

	s.edge.metrics.closed(code)
	s.drop(&dropped, contracts.StatusOverload)
	s.leave()
	if now {
		s.conn.Close(code, reason)
	}
}

// ended returns how the session is being ended; if it is not, its client leaves.
func (s *Session) ended() (contracts.CloseCode, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return s.closeWith, s.reason
	}
	return contracts.CloseNormal, ""
}

func (s *Session) drop(q *queue, st contracts.Status) {
	for b := q.next(); b != nil; b = q.next() {
		s.edge.metrics.dropped(len(b.receipts))
		b.settle(st)
		b.free()
	}
}

// disconnected is told by the connection, once, that it has ended. What was being written may have arrived; what waited
// has not.
func (s *Session) disconnected() {
	s.mu.Lock()
	s.gone = true
	unsure, waiting := s.writing, s.queue
	s.writing, s.queue = nil, queue{}
	s.setTimer(0, nil)
	logged, ending := s.logged, s.ending
	s.mu.Unlock()

	if !ending {
		s.edge.metrics.closed(contracts.CloseNormal)
	}
	s.leave()
	if unsure != nil {
		// Not freed: the connection may still be reading it.
		s.edge.metrics.dropped(len(unsure.receipts))
		unsure.settle(contracts.StatusUnsure)
	}
	s.drop(&waiting, contracts.StatusNotHere)
	s.edge.all.Delete(s.id)
	s.edge.open.Add(-1)
	if !logged {
		s.edge.strange.Add(-1)
	}
}
