package registry

import (
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// limiter bounds how often one client is asked for. It keeps one time per client: when its allowance will be whole again.
type limiter struct {
	each  time.Duration // what one request costs; 0: no limit
	burst time.Duration // what may be owed

	mu    sync.Mutex
	whole map[contracts.ClientID]time.Time // guarded by mu
	sweep int                              // guarded by mu: how many there may be before those that are whole are removed
}

const (
	firstSweep   = 1 << 12
	maxRemembers = 1 << 20 // clients; more in one burst, and all are forgiven rather than memory spent
)

func newLimiter(rate float64, burst int) *limiter {
	l := &limiter{whole: map[contracts.ClientID]time.Time{}, sweep: firstSweep}
	if rate > 0 {
		l.each = time.Duration(float64(time.Second) / rate)
		l.burst = time.Duration(burst) * l.each
	}
	return l
}

// take returns 0 if the client may ask now, and else how long it has to wait.
func (l *limiter) take(now time.Time, client contracts.ClientID) time.Duration {
	if l.each == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	whole := l.whole[client]
	if whole.Before(now) {
		whole = now
	}
	whole = whole.Add(l.each)
	if over := whole.Sub(now) - l.burst; over > 0 {
		return over
	}
	if len(l.whole) >= l.sweep {
		l.forget(now)
	}
	l.whole[client] = whole
	return 0
}

// forget removes those whose allowance is whole: each costs a look once in as many requests as there are clients.
func (l *limiter) forget(now time.Time) {
	for c, whole := range l.whole {
		if !whole.After(now) {
			delete(l.whole, c)
		}
	}
	if len(l.whole) >= maxRemembers {
		clear(l.whole)
	}
	l.sweep = max(firstSweep, 2*len(l.whole))
}
