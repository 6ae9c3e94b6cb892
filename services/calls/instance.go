package calls

import (
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// instance is one start of an instance of a service, as this node knows it. What is read for every call is atomic.
type instance struct {
	// set once
	service *service
	id      contracts.InstanceID
	epoch   contracts.Epoch
	at      contracts.Subject // where it gets its calls
	target  *target           // of the HTTP kind, which has neither; nil: over NATS

	sent     atomic.Int32 // calls that it has from this node
	others   atomic.Int32 // that it had from others when it last reported
	capacity atomic.Int32
	waiting  atomic.Int32
	weight   atomic.Int32
	latency  atomic.Int64 // of late, in nanoseconds
	fit      atomic.Bool  // it lives, and no newer start of it does
	draining atomic.Bool  // it gets nothing new
	life     atomic.Uint64
	leaving  atomic.Bool // it takes nothing more, and answers what it has

	fails   atomic.Int32 // in a row
	ejected atomic.Int64 // until when it gets nothing new, in nanoseconds of the service's clock
	times   atomic.Int32 // how often in a row it was ejected

	// guarded by service.mu
	heard   time.Time
	stays   time.Duration // how long its last report stands
	asked   time.Time     // when it was last probed
	doom    time.Time     // if set, when what it has is given up, unless it says that it is leaving
	since   time.Time     // when it was given the calls of its id
	doubled bool          // it was said that an older start goes on beside it
}

const (
	ejectAfter = 5                // failures in a row
	ejectFirst = 2 * time.Second  // out at first; doubled each time
	ejectMost  = 60 * time.Second // out at most
	ejectSlow  = 10 * time.Second // after that, until it gets its full share again
)

// load is how many calls it has, as far as is known.
func (i *instance) load() int32 { return i.others.Load() + i.sent.Load() }

// room tells whether it takes one more.
func (i *instance) room() bool { return i.load() < i.capacity.Load()+i.waiting.Load() }

// busier tells whether i has more to do for what it can than j; and if both have the same, whether it is much slower.
func (i *instance) busier(j *instance) bool {
	a := int64(i.load()) * int64(j.capacity.Load()) * int64(j.weight.Load())
	b := int64(j.load()) * int64(i.capacity.Load()) * int64(i.weight.Load())
	if a != b {
		return a > b
	}
	return i.latency.Load() > 2*j.latency.Load() && j.latency.Load() > 0
}

// share is how much of its share it gets now: less than 1 after it was ejected, and 0 until then.
func (i *instance) share(now int64) float64 {
	until := i.ejected.Load()
	switch {
	case until == 0 || now > until+int64(ejectSlow):
		return 1
	case now < until:
		return 0
	}
	return 0.1 + 0.9*float64(now-until)/float64(ejectSlow)
}

// went notes how a call went. It returns true if that has the instance ejected.
func (i *instance) went(well bool, took time.Duration, now int64) bool {
	if well {
		i.fails.Store(0)
		if old := i.latency.Load(); old == 0 {
			i.latency.Store(int64(took))
		} else {
			i.latency.Store(old + (int64(took)-old)/8)
		}
		if until := i.ejected.Load(); until != 0 && now > until+int64(ejectSlow) {
			i.ejected.Store(0)
			i.times.Store(0)
		}
		return false
	}
	if i.fails.Add(1) < ejectAfter || now < i.ejected.Load() {
		return false
	}
	i.fails.Store(0)
	out := min(ejectFirst<<min(i.times.Add(1)-1, 10), ejectMost)
	i.ejected.Store(now + int64(out))
	return true
}
