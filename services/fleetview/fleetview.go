// Package fleetview keeps what is believed of a fleet, out of reports that may be wrong: Redis that was emptied, or one that
// answers while it loads, makes it look as if everybody had gone at once. It is a leaf that those who choose instances
// import, so that a registry and a gateway believe alike. It reads nothing by itself, and has no clock.
package fleetview

import (
	"maps"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// View is what is believed of one cluster's instances. An update that would lose more than half of them at once is not acted
// on for a time. The zero value knows of none. It is not safe for concurrent use.
type View struct {
	accepted map[contracts.NodeID]contracts.Instance // the last update that was acted on
	update   map[contracts.NodeID]contracts.Instance // the last one; what it has is true in any case
	missing  []contracts.NodeID                      // what it lacks, while it is not acted on

	refusedSince time.Time // when an update was first not acted on; zero: the last one was
	failingSince time.Time // when reading first failed; zero: it did not
}

// Outcome says what became of an update.
type Outcome int

// The outcomes.
const (
	Accepted Outcome = iota
	Refused          // it would lose more than half the fleet
	Unread           // there was none: the fleet could not be read
)

// Take takes an update, or the error that there is in its place. hold is how long one that would lose more than half the
// fleet is not acted on; 0 is not at all.
func (v *View) Take(now time.Time, fleet []contracts.Instance, err error, hold time.Duration) Outcome {
	if err != nil {
		if v.failingSince.IsZero() {
			v.failingSince = now
		}
		return Unread
	}
	v.failingSince = time.Time{}
	v.update = make(map[contracts.NodeID]contracts.Instance, len(fleet))
	for _, i := range fleet {
		v.update[i.Node] = i
	}
	v.missing = nil
	for id, i := range v.accepted {
		// One that was stopping said that it would go.
		if _, there := v.update[id]; !there && i.Load.State != contracts.NodeDraining {
			v.missing = append(v.missing, id)
		}
	}
	slices.Sort(v.missing)
	if v.doubts(now, hold) {
		if v.refusedSince.IsZero() {
			v.refusedSince = now
		}
		return Refused
	}
	v.accepted, v.missing, v.refusedSince = v.update, nil, time.Time{}
	return Accepted
}

// doubts tells whether an update is not to be acted on. Once one was not, they come back one by one, when Redis was emptied;
// so then all have to be back, or the time over.
func (v *View) doubts(now time.Time, hold time.Duration) bool {
	if v.refusedSince.IsZero() {
		return 2*len(v.missing) > len(v.accepted) && hold > 0
	}
	return len(v.missing) > 0 && now.Sub(v.refusedSince) < hold
}

// Instances are those that count, sorted by id: those believed, and whoever is in the last update.
func (v *View) Instances() []contracts.Instance {
	known := maps.Clone(v.accepted)
	maps.Copy(known, v.update)
	all := make([]contracts.Instance, 0, len(known))
	for _, id := range slices.Sorted(maps.Keys(known)) {
		all = append(all, known[id])
	}
	return all
}

// Known is how many instances the last update had that was acted on.
func (v *View) Known() int { return len(v.accepted) }

// Missing are the instances that the last update lacks, sorted, while it is not acted on.
func (v *View) Missing() []contracts.NodeID { return v.missing }

// Held tells whether the last update is not acted on.
func (v *View) Held() bool { return !v.refusedSince.IsZero() }

// UnreadSince is when reading the fleet first failed; zero when it did not the last time.
func (v *View) UnreadSince() time.Time { return v.failingSince }

// Stale tells whether the fleet could not be read for as long as hold, or never was.
func (v *View) Stale(now time.Time, hold time.Duration) bool {
	return v.accepted == nil || !v.failingSince.IsZero() && now.Sub(v.failingSince) >= hold
}
