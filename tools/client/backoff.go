package client

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Backoff says how long to wait before connecting again. Each wait is drawn evenly from zero to a bound (full jitter), so
// that the clients of a node that fails do not come back all at once. Zero fields have the protocol's defaults.
type Backoff struct {
	First  time.Duration // bound of the first wait. Default 1 s
	Base   time.Duration // doubled with every failure in a row, it is the bound of the next ones. Default 250 ms
	Cap    time.Duration // of the bounds. Default 30 s
	Stable time.Duration // a connection that held this long ends the row. Default 30 s
}

func (b Backoff) withDefaults() Backoff {
	return b.or(Backoff{First: time.Second, Base: 250 * time.Millisecond, Cap: 30 * time.Second, Stable: 30 * time.Second})
}

// or returns it with what is not said taken from another.
func (b Backoff) or(other Backoff) Backoff {
	orDefault(&b.First, other.First)
	orDefault(&b.Base, other.Base)
	orDefault(&b.Cap, other.Cap)
	orDefault(&b.Stable, other.Stable)
	return b
}

// laterFloor is what [contracts.RetryLater] waits at least.
const laterFloor = time.Second

// retries counts failures and says how long to wait. Only run uses it.
type retries struct {
	Backoff
	failures int // attempts that failed and connections that did not hold, in a row
}

// held notes how long a connection held.
func (r *retries) held(d time.Duration) {
	if d >= r.Stable {
		r.failures = 0
	}
}

// next returns the next wait: at least floor, which the server may have asked for.
func (r *retries) next(how contracts.Retry, floor time.Duration) time.Duration {
	bound := r.First
	if r.failures > 0 {
		bound = r.Base
		for range r.failures + 1 { // from the second wait on: 1 s, 2 s, 4 s …
			if bound >= r.Cap {
				break
			}
			bound *= 2
		}
	}
	r.failures++
	if how == contracts.RetryLater {
		floor = max(floor, laterFloor)
	}
	return floor + rand.N(min(bound, r.Cap))
}

// verdict says what to do after a connection, or an attempt to connect, ended with err.
func verdict(err error) (how contracts.Retry, floor time.Duration) {
	var (
		closed  *CloseError
		refusal *RefusedError
	)
	switch {
	case errors.As(err, &closed):
		return closed.Code.Retry(), 0
	case errors.As(err, &refusal):
		return refusal.retry(), refusal.RetryAfter
	}
	return contracts.RetryBackoff, 0
}
