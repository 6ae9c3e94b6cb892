package edge

import (
	"sync"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// receipt says who is to be told what became of a frame; the zero receipt: nobody.
type receipt struct {
	w  broker.Waiter
	id uint64
}

func (r receipt) settle(s contracts.Status) {
	if r.w != nil {
		r.w.Answered(r.id, s)
	}
}

// batch is what goes out in one write: whole objects, each with its line break, and their receipts.
type batch struct {
	buf      []byte // after headroom for the frame's header
	receipts []receipt
}

// batchSize is from where on a batch takes no more, so that a client never gets a larger frame unless one object is.
const batchSize = 32 << 10

// An idle session holds no batch: they come from here, and go back.
var batches = sync.Pool{New: func() any { return &batch{buf: make([]byte, headroom, 512)} }}

func (b *batch) free() {
	if cap(b.buf) > 2*batchSize {
		return
	}
	b.buf = b.buf[:headroom]
	clear(b.receipts)
	b.receipts = b.receipts[:0]
	batches.Put(b)
}

func (b *batch) settle(s contracts.Status) {
	for _, r := range b.receipts {
		r.settle(s)
	}
}

// queue holds what waits to be written to one session, bounded in bytes by its owner, who locks it. Most often it is one
// batch or none: only a backlog takes the slice.
type queue struct {
	first *batch
	rest  []*batch
	bytes int
}

// add copies a frame in. Copying costs 10 ns for a small one, and keeps a queue's memory to its bound: a view would hold
// the whole bundle that the frame came in.
func (q *queue) add(frame []byte, r receipt) {
	last := q.first
	if n := len(q.rest); n > 0 {
		last = q.rest[n-1]
	}
	if last == nil || len(last.buf) > headroom && len(last.buf)+len(frame) > batchSize {
		last = batches.Get().(*batch)
		if q.first == nil {
			q.first = last
		} else {
			q.rest = append(q.rest, last)
		}
	}
	last.buf = append(last.buf, frame...)
	if r.w != nil {
		last.receipts = append(last.receipts, r)
	}
	q.bytes += len(frame)
}

// next takes the first batch out; nil when there is none.
func (q *queue) next() *batch {
	b := q.first
	if b == nil {
		return nil
	}
	q.bytes -= len(b.buf) - headroom
	q.first = nil
	if len(q.rest) > 0 {
		q.first, q.rest[0] = q.rest[0], nil
		if q.rest = q.rest[1:]; len(q.rest) == 0 {
			q.rest = nil
		}
	}
	return b
}
