// Package pace sends at a rate, each message at its time.
package pace

import (
	"context"
	"runtime"
	"time"
)

// Schedule is an open loop: message k is due k/Rate after the start of the run, whatever became of those before.
type Schedule struct {
	Rate  float64 // per second
	Burst int     // so many are due at the same moment; 0 is 1
	Alone bool    // nothing else runs in this process: it sleeps without telling Go's scheduler, whose watch costs CPU time
}

// Due returns when message k is, in nanoseconds since the start of the run.
func (s Schedule) Due(k uint64) int64 {
	if s.Burst > 1 {
		k -= k % uint64(s.Burst)
	}
	return int64(float64(k) * (1e9 / s.Rate))
}

// longestNap lets the pacer hear of the end of its context.
const longestNap = 100 * time.Millisecond

// Run calls send for one message after the other, none before it is due, until those due before the end are sent. When
// send takes long, the next ones are late, and none is left out: their latency counts from when they were due. now and until are in nanoseconds since
// the start of the run.
//
// It keeps a thread and sleeps by the kernel's timer: Go's own may be a millisecond late when the process has nothing else
// to do, which would be told as the system's latency.
func (s Schedule) Run(ctx context.Context, now func() int64, until int64, send func(k uint64, due int64) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer exactTimer()()
	for k := uint64(0); ; k++ {
		due := s.Due(k)
		if due >= until {
			return nil
		}
		for wait := due - now(); wait > 0; wait = due - now() {
			s.nap(time.Duration(wait))
			if err := context.Cause(ctx); err != nil {
				return err
			}
		}
		if err := send(k, due); err != nil {
			return err
		}
		if k&1023 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// shortNap is what a process may sleep without its scheduler: longer, and that would try to interrupt it.
const shortNap = 5 * time.Millisecond

func (s Schedule) nap(d time.Duration) {
	if s.Alone && d < shortNap {
		bareNap(d)
		return
	}
	nap(min(d, longestNap))
}
