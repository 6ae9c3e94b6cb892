package registry

import (
	"maps"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// watch is what is known of one cluster's instances. The poll of that cluster owns it.
type watch struct {
	accepted map[contracts.NodeID]contracts.Instance // the last update that was acted on, with what was heard since
	missing  map[contracts.NodeID]contracts.Instance // of these, what the update that is not acted on does not have

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
	update := make(map[contracts.NodeID]contracts.Instance, len(fleet))
	for _, i := range fleet {
		update[i.Node] = i
	}
	missing, lost := map[contracts.NodeID]contracts.Instance{}, 0
	for id, i := range w.accepted {
		if _, there := update[id]; there {
			continue
		}
		missing[id] = i
		if i.Load.State != contracts.NodeDraining { // that said that it would go
			lost++
		}
	}
	if 2*lost > len(w.accepted) && (w.refusedSince.IsZero() || now.Sub(w.refusedSince) < hold) {
		if w.refusedSince.IsZero() {
			w.refusedSince = now
		}
		for id := range w.accepted { // those that are still there go on reporting
			if i, there := update[id]; there {
				w.accepted[id] = i
			}
		}
		w.missing = missing
		return refused
	}
	w.accepted, w.missing, w.refusedSince = update, nil, time.Time{}
	return accepted
}

// instances are those that count, sorted by id.
func (w *watch) instances() []contracts.Instance {
	all := make([]contracts.Instance, 0, len(w.accepted))
	for _, id := range slices.Sorted(maps.Keys(w.accepted)) {
		all = append(all, w.accepted[id])
	}
	return all
}

// stale tells whether the fleet could not be read for longer than hold, or never.
func (w *watch) stale(now time.Time, hold time.Duration) bool {
	return w.accepted == nil || !w.failingSince.IsZero() && now.Sub(w.failingSince) >= hold
}
