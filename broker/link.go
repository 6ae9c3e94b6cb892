package broker

import (
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	maxWindow  = 1 << 16  // unanswered records to one shard of one node; more are unavailable
	fullBundle = 32 << 10 // from here on a bundle is sent without gathering more
)

// link is the way to one shard of one other node. What is posted in one burst goes out as one bundle.
type link struct {
	// set once
	bus     *Bus
	to      contracts.NodeID
	shard   int
	subject string

	mu      sync.Mutex
	buf     []byte // the bundle that is being gathered; empty when there is none
	first   uint64 // number of its first tracked record
	tracked int    // how many it has
	marked  bool   // it will be published at the end of a burst
	window  window
	timer   *time.Timer // runs while the window holds something
	reply   []byte      // scratch

	// origin is whom the latest bundle from there came from; answers go to it.
	origin *origin
}

// origin takes the answers for one start of another node. It is a [Waiter].
type origin struct {
	link  *link
	epoch contracts.Epoch
}

// Answered sends the answer for one of the origin's records back to it.
func (o *origin) Answered(seq uint64, s contracts.Status) {
	l := o.link
	l.mu.Lock()
	failed := l.append(contracts.Record{Kind: contracts.RecordAnswer, Epoch: o.epoch, Seq: seq, Status: s})
	l.release(failed)
}

// post sends a record that is to be answered.
func (l *link) post(r contracts.Record, p pending) {
	l.mu.Lock()
	seq, ok := l.window.add(p)
	if !ok {
		l.mu.Unlock()
		p.answered(contracts.StatusUnavailable)
		return
	}
	r.Seq = seq
	l.arm(p.sent)
	failed := l.append(r)
	l.release(failed)
}

// append adds a record to the bundle; a bundle without room for it goes first. It returns who must be told that theirs
// could not be sent. l.mu is held.
func (l *link) append(r contracts.Record) (failed []pending) {
	if len(l.buf)+contracts.RecordSize(r) > contracts.MaxBundle {
		failed = l.publish()
	}
	if len(l.buf) == 0 {
		l.buf = contracts.AppendBundle(l.buf, l.bus.node, l.bus.epoch)
	}
	if r.Kind != contracts.RecordAnswer {
		if l.tracked == 0 {
			l.first = r.Seq
		}
		l.tracked++
	}
	l.buf = contracts.AppendRecord(l.buf, r)
	if len(l.buf) >= fullBundle {
		failed = append(failed, l.publish()...)
	}
	return failed
}

// release unlocks l.mu, and has what was gathered published.
func (l *link) release(failed []pending) {
	mark := !l.marked && len(l.buf) > 0
	if mark {
		l.marked = true
	}
	l.mu.Unlock()
	if mark {
		l.bus.gather.Mark(l)
	}
	unavailable(failed)
}

// flush publishes what was gathered.
func (l *link) flush() {
	l.mu.Lock()
	l.marked = false
	failed := l.publish()
	l.mu.Unlock()
	unavailable(failed)
}

func unavailable(failed []pending) {
	for _, p := range failed {
		p.answered(contracts.StatusUnavailable)
	}
}

// publish sends the bundle, under l.mu so that bundles keep their order: nats.go only copies it into its buffer. It returns
// the records that were not sent, for sure, because there is no connection.
func (l *link) publish() (failed []pending) {
	if len(l.buf) == 0 {
		return nil
	}
	var err error
	if l.tracked > 0 {
		l.reply = contracts.AppendReturn(l.reply[:0], l.bus.returned, l.to, l.shard, l.first, l.tracked)
		err = l.bus.conn.nc.PublishRequest(l.subject, string(l.reply), l.buf)
	} else {
		err = l.bus.conn.nc.Publish(l.subject, l.buf)
	}
	if err != nil {
		l.bus.counters.unsent.Add(1)
		failed = l.takeRange(l.first, l.tracked)
	} else {
		l.bus.counters.bundles.Add(1)
	}
	l.tracked = 0
	l.buf = l.buf[:0]
	if cap(l.buf) > 2*fullBundle {
		l.buf = nil // one large frame should not keep a large buffer for every link
	}
	return failed
}

// takeRange takes the given records out of the window.
func (l *link) takeRange(first uint64, n int) []pending {
	var taken []pending
	for i := range n {
		if p := l.window.take(first + uint64(i)); p.w != nil {
			taken = append(taken, p)
		}
	}
	return taken
}

// answered passes on the answer that came for a record.
func (l *link) answered(seq uint64, s contracts.Status) {
	l.mu.Lock()
	p := l.window.take(seq)
	l.mu.Unlock()
	p.answered(s)
}

// nobody passes on that a bundle came back because nobody listens there.
func (l *link) nobody(first uint64, n int) {
	l.mu.Lock()
	taken := l.takeRange(first, n)
	l.mu.Unlock()
	for _, p := range taken {
		p.answered(contracts.StatusNobody)
	}
}

// arm starts the timer for the oldest record, if it is not running. l.mu is held.
func (l *link) arm(sent time.Time) {
	switch {
	case l.window.n > 1:
		return // runs
	case l.timer == nil:
		l.timer = time.AfterFunc(l.bus.answerTime, l.expire)
	default:
		l.timer.Reset(time.Until(sent.Add(l.bus.answerTime)))
	}
}

// expire gives up on the records whose time is over, and sleeps until the next one's is.
func (l *link) expire() {
	now := time.Now()
	var late []pending
	l.mu.Lock()
	for {
		p, ok := l.window.takeOld(now.Add(-l.bus.answerTime))
		if !ok {
			break
		}
		if p.w != nil {
			late = append(late, p)
		}
	}
	if l.window.n > 0 {
		oldest := l.window.ring[l.window.base&uint64(len(l.window.ring)-1)]
		l.timer.Reset(oldest.sent.Add(l.bus.answerTime).Sub(now))
	}
	l.mu.Unlock()
	for _, p := range late {
		p.answered(contracts.StatusTimeout)
	}
}

// close gives up on all that waits.
func (l *link) close() {
	l.mu.Lock()
	if l.timer != nil {
		l.timer.Stop()
	}
	left := l.takeRange(l.window.base, l.window.n)
	l.mu.Unlock()
	for _, p := range left {
		p.answered(contracts.StatusTimeout)
	}
}
