package broker

import (
	"sync"

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
	self    contracts.NodeID // as the other node calls this one
	to      contracts.NodeID
	shard   int
	subject string

	mu      sync.Mutex
	buf     []byte // the bundle that is being gathered; empty when there is none
	first   uint64 // number of its first tracked record
	tracked int    // how many it has
	marked  bool   // it will be published at the end of a burst
	reply   []byte // scratch

	book Book // of the records that wait for their answer

	// origin is whom the latest bundle from there came from; answers go to it.
	origin *origin
}

// origin takes the answers for one start of another node. It is a [DataWaiter].
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

// Data sends an answer with data.
func (o *origin) Data(seq uint64, data []byte) {
	l := o.link
	l.mu.Lock()
	failed := l.append(contracts.Record{Kind: contracts.RecordData, Epoch: o.epoch, Seq: seq, Data: data})
	l.release(failed)
}

// post sends a record that is to be answered. Its number is taken under l.mu, so that a bundle has consecutive ones.
func (l *link) post(r contracts.Record, w Waiter, id uint64) {
	l.mu.Lock()
	seq, ok := l.book.Add(w, id)
	if !ok {
		l.mu.Unlock()
		w.Answered(id, contracts.StatusUnavailable)
		return
	}
	r.Seq = seq
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
		l.buf = contracts.AppendBundle(l.buf, l.self, l.bus.epoch)
	}
	if r.Kind != contracts.RecordAnswer && r.Kind != contracts.RecordData {
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
		failed = l.book.take(l.first, l.tracked)
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

// nobody passes on that a bundle came back because nobody listens there.
func (l *link) nobody(first uint64, n int) {
	for _, p := range l.book.take(first, n) {
		p.answered(contracts.StatusNobody)
	}
}
