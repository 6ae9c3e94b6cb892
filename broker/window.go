package broker

import (
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Waiter is told what became of one message. Answered is called exactly once for each, from any goroutine, and must
// not block.
type Waiter interface {
	Answered(id uint64, s contracts.Status)
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
	p := w.ring[w.base&uint64(len(w.ring)-1)]
	if p.sent.After(before) {
		return pending{}, false
	}
	return w.take(w.base), true
}

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
