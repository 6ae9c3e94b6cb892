package registry

import (
	"math"
	"time"
)

// handed counts the clients that were sent to an instance and have not arrived there, as far as is known: the figures that
// an instance reports are a second or two old, in which a crowd would all be sent to the one that looked emptiest.
type handed struct {
	waiting float64
	batches []batch // the oldest first
}

// batch is how many were sent within a moment.
type batch struct {
	at time.Time
	n  float64
}

const (
	handedMoment = 250 * time.Millisecond
	handedLife   = 10 * time.Second // who has not arrived by then does not come
)

// add counts one that was sent.
func (h *handed) add(now time.Time) {
	h.waiting++
	if n := len(h.batches); n > 0 && now.Sub(h.batches[n-1].at) < handedMoment {
		h.batches[n-1].n++
		return
	}
	h.expire(now)
	h.batches = append(h.batches, batch{now, 1})
}

// arrived takes off those that have arrived.
func (h *handed) arrived(n float64) {
	for n > 0 && len(h.batches) > 0 {
		b := &h.batches[0]
		took := min(n, b.n)
		b.n -= took
		h.waiting -= took
		n -= took
		if b.n == 0 {
			h.batches = h.batches[1:]
		}
	}
}

// expire takes off those that do not come.
func (h *handed) expire(now time.Time) {
	for len(h.batches) > 0 && now.Sub(h.batches[0].at) > handedLife {
		h.waiting -= h.batches[0].n
		h.batches = h.batches[1:]
	}
}

// share estimates which part of all who arrive were sent by this registry: the others are sent by registries that it knows
// nothing of, or come by themselves. With three registries and no share, each takes the arrivals of all for its own, and
// forgets its own too early; measured with 5,000 arrivals in 10 s on 4 instances whose reports are 1 s late, the largest
// instance then has up to 1.24 times what the smallest has.
type share struct {
	sent, arrived float64 // lately
	faded         time.Time
}

const (
	shareLife  = 5 * time.Second // "lately": what is older counts for a third
	shareFew   = 50              // arrivals, below which they prove nothing
	leastShare = 0.05
)

// part is 1 if all who arrive were sent from here.
func (s *share) part() float64 {
	if s.arrived < shareFew {
		return 1
	}
	return min(1, max(leastShare, s.sent/s.arrived))
}

// fade lets what was sent and has arrived count for less as time passes.
func (s *share) fade(now time.Time) {
	if !s.faded.IsZero() {
		left := math.Exp(-float64(now.Sub(s.faded)) / float64(shareLife))
		s.sent *= left
		s.arrived *= left
	}
	s.faded = now
}
