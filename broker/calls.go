package broker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/beeline-rt/beeline/contracts"
)

// CallWaiter is told what became of one call to an instance. Ended is called exactly once, from any goroutine, and must not block.
// With contracts.StatusDelivered there is an answer, whatever it is, which is the waiter's to keep; else:
//
//	StatusNobody, StatusUnavailable   nobody got it
//	StatusTimeout                     no answer in time
//	StatusUnsure                      given up by [Calls.Abandon]
type CallWaiter interface {
	Ended(answer []byte, s contracts.Status)
}

// ReportHandler hears of the instances of services. Its methods are called from one goroutine each, and must not block.
type ReportHandler interface {
	// Reported tells what an instance says of itself, and where this start of it gets its calls.
	Reported(r contracts.Report, at contracts.Subject)
	// Missed says that another node found nobody on the subject of that start of the instance.
	Missed(s contracts.ServiceName, i contracts.InstanceID, e contracts.Epoch)
}

// Burster is told when answers that have come together are handed over, so that what they cause goes out together.
type Burster interface {
	Begin()
	End()
}

const (
	answerBurst = 256       // answers handed over together, at most
	burstBytes  = 256 << 10 // after which there is no more in a burst: what it causes waits for its end
)

const (
	callParts = 16                    // parts of the table of calls, each with a lock of its own
	callTick  = 20 * time.Millisecond // how often calls are looked at whose time may be over
)

// Calls sends calls to instances of services, and gets their answers: over one subscription, however many there are. It is safe
// for concurrent use.
type Calls struct {
	// set once
	conn    *Conn
	cluster contracts.ClusterName
	prefix  contracts.Subject
	handler ReportHandler
	log     *slog.Logger
	subs    []*nats.Subscription // the first is that of the answers
	stop    chan struct{}
	wake    chan struct{} // holds one: idle has ended
	work    sync.WaitGroup

	seq      atomic.Uint64
	idle     atomic.Bool // no call waits, and expire sleeps
	parts    [callParts]callPart
	burst    burst // used by the goroutine of the answers only
	counters struct{ strays, malformed atomic.Uint64 }
}

// burst is what of the answers is being handed over together.
type burst struct {
	Burster // nil: it is all the same to nobody
	open    bool
	n, size int
}

type callPart struct {
	mu      sync.Mutex
	waiting map[uint64]calling
}

// calling is one call that waits for its answer.
type calling struct {
	secret   uint64
	deadline time.Time
	to       contracts.Subject
	w        CallWaiter
}

// OpenCalls subscribes what a node needs to call services, and asks all instances to report. b may be nil.
func OpenCalls(ctx context.Context, conn *Conn, c contracts.ClusterName, n contracts.NodeID, h ReportHandler, b Burster) (*Calls, error) {
	x := &Calls{
		conn: conn, cluster: c, prefix: contracts.AnswersPrefix(c, n), handler: h, log: conn.log, stop: make(chan struct{}), wake: make(chan struct{}, 1), burst: burst{Burster: b},
	}
	x.seq.Store(rand.Uint64N(1 << 32)) // what is late for another start of this node finds nothing
	for i := range x.parts {
		x.parts[i].waiting = map[uint64]calling{}
	}
	for _, s := range []struct {
		subject contracts.Subject
		handle  nats.MsgHandler
	}{
		{x.prefix + ">", x.deliver},
		{contracts.ReportWildcard(c), x.reported},
		{contracts.MissedWildcard(c), x.missed},
	} {
		if err := x.subscribe(s.subject, s.handle); err != nil {
			x.unsubscribe()
			return nil, fmt.Errorf("subscribe %s: %w", s.subject, err)
		}
	}
	x.RollCall()
	if err := conn.settle(ctx); err != nil {
		x.unsubscribe()
		return nil, fmt.Errorf("subscribe to services: %w", err)
	}
	x.work.Go(x.expire)
	return x, nil
}

func (x *Calls) subscribe(subject contracts.Subject, h nats.MsgHandler) error {
	sub, err := x.conn.nc.Subscribe(string(subject), h)
	if err != nil {
		return err
	}
	x.work.Add(1)
	sub.SetClosedHandler(func(string) { x.work.Done() })
	x.subs = append(x.subs, sub)
	return sub.SetPendingLimits(pendingMessages, pendingBytes)
}

func (x *Calls) unsubscribe() {
	for _, sub := range x.subs {
		_ = sub.Unsubscribe()
	}
}

// RollCall asks all instances to report now.
func (x *Calls) RollCall() {
	_ = x.conn.nc.Publish(string(contracts.RollCallSubject(x.cluster)), nil) // else their next reports come by themselves
}

// Call sends a call to where a start of an instance gets its calls. w is told what became of it, also when it could not be sent.
func (x *Calls) Call(to contracts.Subject, task []byte, deadline time.Time, w CallWaiter) {
	seq, secret := x.seq.Add(1), rand.Uint64()
	p := &x.parts[seq%callParts]
	p.mu.Lock()
	if p.waiting == nil {
		p.mu.Unlock()
		w.Ended(nil, contracts.StatusUnavailable) // closed
		return
	}
	p.waiting[seq] = calling{secret, deadline, to, w}
	p.mu.Unlock()
	if x.idle.Load() && x.idle.CompareAndSwap(true, false) {
		x.wake <- struct{}{}
	}
	reply := make([]byte, 0, 128)
	reply = contracts.AppendAnswerSubject(reply, x.prefix, seq, secret)
	if err := x.conn.nc.PublishRequest(string(to), string(reply), task); err != nil {
		x.end(seq, secret, nil, contracts.StatusUnavailable)
	}
}

// Summon has an instance report of which this node has not heard. w is told contracts.StatusNobody if no start of it is there, and
// contracts.StatusTimeout if one may be: a report is no answer.
func (x *Calls) Summon(s contracts.ServiceName, i contracts.InstanceID, deadline time.Time, w CallWaiter) {
	x.Call(contracts.SummonSubject(x.cluster, s, i), nil, deadline, w)
}

// Missed tells all nodes that nobody is on the subject of that start of the instance.
func (x *Calls) Missed(s contracts.ServiceName, i contracts.InstanceID, e contracts.Epoch) {
	_ = x.conn.nc.Publish(string(contracts.MissedSubject(x.cluster, s, i, e)), nil) // they find out for themselves, later
}

// Connected tells whether there is a connection, over which reports can come.
func (x *Calls) Connected() bool { return x.conn.Connected() }

// Abandon ends all calls that these starts of instances have, with contracts.StatusUnsure. It looks at every call there is, once for all of them.
func (x *Calls) Abandon(all []contracts.Subject) {
	gone := make(map[contracts.Subject]bool, len(all))
	for _, to := range all {
		gone[to] = true
	}
	x.endAll(contracts.StatusUnsure, func(c *calling) bool { return gone[c.to] })
}

// endAll ends the calls that match.
func (x *Calls) endAll(st contracts.Status, match func(*calling) bool) {
	var ended []CallWaiter
	for i := range x.parts {
		p := &x.parts[i]
		p.mu.Lock()
		for seq, c := range p.waiting {
			if match(&c) {
				ended = append(ended, c.w)
				delete(p.waiting, seq)
			}
		}
		p.mu.Unlock()
	}
	for _, w := range ended {
		w.Ended(nil, st)
	}
}

// end ends one call, if it waits and the secret is its.
func (x *Calls) end(seq, secret uint64, answer []byte, st contracts.Status) bool {
	p := &x.parts[seq%callParts]
	p.mu.Lock()
	c, ok := p.waiting[seq]
	if ok = ok && c.secret == secret; ok {
		delete(p.waiting, seq)
	}
	p.mu.Unlock()
	if ok {
		c.w.Ended(answer, st)
	}
	return ok
}

// deliver hands over an answer, together with those that are there already.
func (x *Calls) deliver(m *nats.Msg) {
	b := &x.burst
	if !b.open {
		b.begin()
	}
	x.answered(m)
	b.n++
	b.size += len(m.Data)
	// What waits is counted with the one that is being handed over.
	if waiting, _, err := m.Sub.Pending(); err != nil || waiting <= 1 || b.n >= answerBurst || b.size > burstBytes {
		b.end()
	}
}

func (b *burst) begin() {
	b.open, b.n, b.size = true, 0, 0
	if b.Burster != nil {
		b.Begin()
	}
}

func (b *burst) end() {
	b.open = false
	if b.Burster != nil {
		b.End()
	}
}

// answered takes what comes for a call: an answer, or the server's word that nobody is there.
func (x *Calls) answered(m *nats.Msg) {
	seq, secret, ok := contracts.ParseAnswerSubject(m.Subject, x.prefix)
	if !ok {
		x.counters.strays.Add(1)
		return
	}
	st := contracts.StatusDelivered
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		st = contracts.StatusNobody
	}
	if !x.end(seq, secret, m.Data, st) && st == contracts.StatusDelivered {
		x.counters.strays.Add(1) // too late, for the second time, or for a call of somebody else
	}
}

func (x *Calls) reported(m *nats.Msg) {
	r, err := contracts.ReadReport(m.Data)
	// The subject is what the server may restrict an instance to, so what the report says must be the same.
	if err != nil || m.Subject != string(contracts.ReportSubject(x.cluster, r.Service, r.Instance)) {
		if x.counters.malformed.Add(1) == 1 {
			x.log.Error("malformed report of a service instance")
		}
		return
	}
	x.handler.Reported(r, contracts.InstanceSubject(x.cluster, r.Service, r.Instance, r.Epoch))
}

func (x *Calls) missed(m *nats.Msg) {
	if s, i, e, ok := contracts.ParseMissed(x.cluster, m.Subject); ok {
		x.handler.Missed(s, i, e)
	}
}

// expire ends the calls whose time is over. While none waits, it sleeps.
func (x *Calls) expire() {
	tick := time.NewTicker(callTick)
	defer tick.Stop()
	for {
		select {
		case <-x.stop:
			return
		case <-x.wake:
			tick.Reset(callTick)
		case now := <-tick.C:
			x.endAll(contracts.StatusTimeout, func(c *calling) bool { return now.After(c.deadline) })
			if x.waiting() > 0 {
				continue
			}
			// Who adds a call does so before it looks at idle, and here it is the other way round.
			if x.idle.Store(true); x.waiting() > 0 && x.idle.CompareAndSwap(true, false) {
				continue
			}
			tick.Stop()
		}
	}
}

// waiting is how many calls have no answer yet.
func (x *Calls) waiting() (n int) {
	for i := range x.parts {
		p := &x.parts[i]
		p.mu.Lock()
		n += len(p.waiting)
		p.mu.Unlock()
	}
	return n
}

// CallStats are counts since the calls were opened.
type CallStats struct {
	Waiting   int    // calls without an answer yet
	Strays    uint64 // answers that nobody waits for: too late, a second one, or for somebody else's call
	Dropped   uint64 // answers that nats.go dropped because this node could not keep up
	Malformed uint64 // reports that were none
}

// Stats returns the counts, for metrics: it takes the locks of the calls.
func (x *Calls) Stats() CallStats {
	s := CallStats{Waiting: x.waiting(), Strays: x.counters.strays.Load(), Malformed: x.counters.malformed.Load()}
	if n, err := x.subs[0].Dropped(); err == nil {
		s.Dropped = uint64(n)
	}
	return s
}

// Close gives up on what has no answer, and leaves the connection open.
func (x *Calls) Close() {
	x.unsubscribe()
	close(x.stop)
	x.work.Wait() // nothing is handed over any more
	if x.burst.open {
		x.burst.end() // what was to come next in it was not handed over
	}
	x.endAll(contracts.StatusUnsure, func(*calling) bool { return true })
	for i := range x.parts {
		p := &x.parts[i]
		p.mu.Lock()
		left := p.waiting
		p.waiting = nil
		p.mu.Unlock()
		for _, c := range left {
			c.w.Ended(nil, contracts.StatusUnsure)
		}
	}
}
