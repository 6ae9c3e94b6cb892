package broker

import (
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Waiter is told what became of one message. Answered is called exactly once for each, from any goroutine, and must
// not block.
type Waiter interface {
	Answered(id uint64, s contracts.Status)
}

// DataWaiter is a waiter for a record that is answered with data: Data is called in place of Answered if all went well.
// The data is to be used before it returns.
type DataWaiter interface {
	Waiter
	Data(id uint64, data []byte)
}

// pending is one record that waits for its answer; free when w is nil.
type pending struct {
	w    Waiter
	id   uint64
	sent time.Time
}

func (p pending) answered(s contracts.Status) {
	if p.w != nil {
		p.w.Answered(p.id, s)
	}
}

// Book holds messages that wait for their answer, each no longer than AnswerTime. It is itself the [Waiter] of whoever is to
// answer, with the number that Add returned as the id. It is safe for concurrent use; the zero Book needs an AnswerTime.
type Book struct {
	AnswerTime time.Duration // set it before the first use

	mu     sync.Mutex
	window window
	timer  *time.Timer // runs while the window holds something
}

// Add takes a message in and returns its number; w is told once what became of it. It returns false when too many wait:
// w is then not told.
func (b *Book) Add(w Waiter, id uint64) (seq uint64, ok bool) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if seq, ok = b.window.add(pending{w, id, now}); ok && b.window.n == 1 {
		if b.timer == nil {
			b.timer = time.AfterFunc(b.AnswerTime, b.expire)
		} else {
			b.timer.Reset(b.AnswerTime)
		}
	}
	return seq, ok
}

// Answered passes on what became of a message; for one that was answered already, it does nothing.
func (b *Book) Answered(seq uint64, s contracts.Status) {
	b.mu.Lock()
	p := b.window.take(seq)
	b.mu.Unlock()
	p.answered(s)
}

// answeredWith passes on the data that came for a record.
func (b *Book) answeredWith(seq uint64, data []byte) {
	b.mu.Lock()
	p := b.window.take(seq)
	b.mu.Unlock()
	if w, ok := p.w.(DataWaiter); ok {
		w.Data(p.id, data)
		return
	}
	p.answered(contracts.StatusDelivered)
}

// take removes some messages and returns those that were not answered yet.
func (b *Book) take(first uint64, n int) (taken []pending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range n {
		if p := b.window.take(first + uint64(i)); p.w != nil {
			taken = append(taken, p)
		}
	}
	return taken
}

// expire gives up on the messages whose time is over, and sleeps until the next one's is.
func (b *Book) expire() {
	now := time.Now()
	var late []pending
	b.mu.Lock()
	for {
		p, ok := b.window.takeOld(now.Add(-b.AnswerTime))
		if !ok {
			break
		}
		late = append(late, p)
	}
	if b.window.n > 0 {
		b.timer.Reset(b.window.oldest().sent.Add(b.AnswerTime).Sub(now))
	}
	b.mu.Unlock()
	for _, p := range late {
		p.answered(contracts.StatusTimeout)
	}
}

// Close gives up on all that waits. Nothing should be added after it.
func (b *Book) Close() {
	b.mu.Lock()
	if b.timer != nil {
		b.timer.Stop()
	}
	first, n := b.window.base, b.window.n
	b.mu.Unlock()
	for _, p := range b.take(first, n) {
		p.answered(contracts.StatusTimeout)
	}
}

// window holds the records that wait for an answer, in the order of their numbers: a ring, so that adding and finding
// one costs neither a map nor an allocation. Its owner locks it.
type window struct {
	ring []pending // its length is a power of two
	base uint64    // the number of the first one
	n    int       // how many numbers it spans
}

// add takes a record in and returns its number, or false when the window is full.
func (w *window) add(p pending) (uint64, bool) {
	if w.n == len(w.ring) {
		if w.n >= maxWindow {
			return 0, false
		}
		w.grow()
	}
	seq := w.base + uint64(w.n)
	w.ring[seq&uint64(len(w.ring)-1)] = p
	w.n++
	return seq, true
}

func (w *window) grow() {
	bigger := make([]pending, max(16, 2*len(w.ring)))
	for i := range w.n {
		seq := w.base + uint64(i)
		bigger[seq&uint64(len(bigger)-1)] = w.ring[seq&uint64(len(w.ring)-1)]
	}
	w.ring = bigger
}

// take removes the record with this number; a zero pending means that it was answered already, or never was.
func (w *window) take(seq uint64) pending {
	if seq-w.base >= uint64(w.n) { // also true when seq < base
		return pending{}
	}
	slot := &w.ring[seq&uint64(len(w.ring)-1)]
	p := *slot
	*slot = pending{}
	w.trim()
	return p
}

// takeOld removes and returns the oldest record if it was sent before the given time.
func (w *window) takeOld(before time.Time) (pending, bool) {
	if w.n == 0 {
		return pending{}, false
	}
	if w.oldest().sent.After(before) {
		return pending{}, false
	}
	return w.take(w.base), true
}

// oldest is the first of those that wait; there must be one.
func (w *window) oldest() pending { return w.ring[w.base&uint64(len(w.ring)-1)] }

// trim lets go of what was answered at the front.
func (w *window) trim() {
	for w.n > 0 && w.ring[w.base&uint64(len(w.ring)-1)].w == nil {
		w.base++
		w.n--
	}
	if w.n == 0 && len(w.ring) > 1024 {
		w.ring = nil // after a burst, give the memory back
	}
}
