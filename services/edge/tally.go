package edge

import (
	"sync"
	"sync/atomic"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// tally makes one answer of several: delivered as soon as one is; else the best of them, when all are in.
// It is a broker.Waiter.
type tally struct {
	w      broker.Waiter
	id     uint64
	missed func() // if set: called when a part is not where it was thought to be
	left   atomic.Int32
	told   atomic.Bool

	mu   sync.Mutex
	best contracts.Status // guarded by mu
}

func newTally(w broker.Waiter, id uint64, parts int) *tally {
	t := &tally{w: w, id: id, best: contracts.StatusNotHere}
	t.left.Store(int32(parts))
	return t
}

// rank orders statuses: what is true of the whole if it is true of one part. A part that may have arrived makes the
// whole uncertain, whatever the others say.
func rank(s contracts.Status) int {
	switch s {
	case contracts.StatusDelivered:
		return 3
	case contracts.StatusUnsure, contracts.StatusTimeout:
		return 2
	case contracts.StatusOverload, contracts.StatusUnavailable:
		return 1
	}
	return 0
}

// Answered takes one of the answers.
func (t *tally) Answered(_ uint64, s contracts.Status) {
	if t.missed != nil && (s == contracts.StatusNotHere || s == contracts.StatusNobody) {
		t.missed()
	}
	t.mu.Lock()
	if rank(s) > rank(t.best) {
		t.best = s
	}
	best := t.best
	t.mu.Unlock()
	if last := t.left.Add(-1) == 0; (last || s == contracts.StatusDelivered) && t.told.CompareAndSwap(false, true) {
		t.w.Answered(t.id, best)
	}
}
