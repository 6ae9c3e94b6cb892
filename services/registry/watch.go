package registry

import (
	"maps"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// watch is what is known of one cluster's instances. The poll of that cluster owns it.
type watch struct {
	accepted map[contracts.NodeID]contracts.Instance // the last update that was acted on
	update   map[contracts.NodeID]contracts.Instance // the last one; what it has is true in any case
	missing  []contracts.NodeID                      // what it lacks, while it is not acted on

	refusedSince time.Time // when an update was first not acted on; zero: the last one was
	failingSince time.Time // when reading first failed; zero: it did not
}

// outcome says what became of an update.
type outcome int

const (
	accepted outcome = iota
	refused          // it would lose more than half the fleet
	unread           // there was none: the fleet could not be read
)

// take takes an update.
func (w *watch) take(now time.Time, fleet []contracts.Instance, err error, hold time.Duration) outcome {
	if err != nil {
		if w.failingSince.IsZero() {
			w.failingSince = now
		}
		return unread
	}
	w.failingSince = time.Time{}
	w.update = make(map[contracts.NodeID]contracts.Instance, len(fleet))
	for _, i := range fleet {
		w.update[i.Node] = i
	}
	w.missing = nil
	for id, i := range w.accepted {
		// One that was stopping said that it would go.
		if _, there := w.update[id]; !there && i.Load.State != contracts.NodeDraining {
			w.missing = append(w.missing, id)
		}
	}
	slices.Sort(w.missing)
	if w.doubts(now, hold) {
		if w.refusedSince.IsZero() {
			w.refusedSince = now
		}
		return refused
	}
	w.accepted, w.missing, w.refusedSince = w.update, nil, time.Time{}
	return accepted
}

// doubts tells whether an update is not to be acted on. Once one was not, they come back one by one, when Redis was emptied;
// so then all have to be back, or the time over.
func (w *watch) doubts(now time.Time, hold time.Duration) bool {
	if w.refusedSince.IsZero() {
		return 2*len(w.missing) > len(w.accepted) && hold > 0
	}
	return len(w.missing) > 0 && now.Sub(w.refusedSince) < hold
}

// instances are those that count, sorted by id.
func (w *watch) instances() []contracts.Instance {
	known := maps.Clone(w.accepted)
	maps.Copy(known, w.update)
	all := make([]contracts.Instance, 0, len(known))
	for _, id := range slices.Sorted(maps.Keys(known)) {
		all = append(all, known[id])
	}
	return all
}

// stale tells whether the fleet could not be read for longer than hold, or never.
func (w *watch) stale(now time.Time, hold time.Duration) bool {
	return w.accepted == nil || !w.failingSince.IsZero() && now.Sub(w.failingSince) >= hold
}
