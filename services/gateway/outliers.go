package gateway

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// outliers remembers which instances have failed lately. One that fails is passed over for a while, which doubles with each
// failure in a row; then it is tried with some of its clients, more and more, so that it is not hit by all at once; the
// first that is served clears it after that. (Outlier detection and slow start are what Envoy calls these.)
type outliers struct {
	mu sync.Mutex
	m  map[contracts.Peer]*outlier
}

type outlier struct {
	failures int       // in a row
	until    time.Time // passed over until then
	full     time.Time // from when on it gets all of its clients again
}

const (
	firstEjection = time.Second
	lastEjection  = 30 * time.Second
	slowReturn    = 10 * time.Second
	maxOutliers   = 10_000
)

// failed notes that an instance did not answer, and tells whether that was news: when many clients find out at the same
// time, it is one failure.
func (o *outliers) failed(p contracts.Peer, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.m[p]
	if x == nil {
		if o.m == nil || len(o.m) >= maxOutliers { // those of instances that are long gone
			o.m = make(map[contracts.Peer]*outlier)
		}
		x = &outlier{}
		o.m[p] = x
	}
	if now.Before(x.until) {
		return false
	}
	x.failures++
	out := min(lastEjection, firstEjection<<min(x.failures-1, 5))
	x.until = now.Add(out)
	x.full = x.until.Add(slowReturn)
	return true
}

// served notes that an instance took a client.
func (o *outliers) served(p contracts.Peer, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if x := o.m[p]; x != nil && !now.Before(x.full) {
		delete(o.m, p)
	}
}

// passes tells whether an instance is to be passed over.
func (o *outliers) passes(p contracts.Peer, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.m[p]
	switch {
	case x == nil || !now.Before(x.full):
		return false
	case now.Before(x.until):
		return true
	}
	back := float64(now.Sub(x.until)) / float64(slowReturn)
	return rand.Float64() > back
}
