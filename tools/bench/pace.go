package bench

import (
	"context"
	"runtime"
	"time"
)

// schedule is an open loop: message k is due k/rate after the start of the run, whatever became of those before.
type schedule struct {
	rate  float64 // per second
	burst int     // so many are due at the same moment; 0 is 1
}

// due returns when message k is, in nanoseconds since the start of the run.
func (s schedule) due(k uint64) int64 {
	if s.burst > 1 {
		k -= k % uint64(s.burst)
	}
	return int64(float64(k) * (1e9 / s.rate))
}

// longestNap lets the pacer hear of the end of its context.
const longestNap = 100 * time.Millisecond

// run calls send for one message after the other, none before it is due, until those due before the end are sent. When
// send takes long, the next ones are late, and none is left out: their latency counts from when they were due.
//
// It keeps a thread and sleeps by the kernel's timer: Go's own may be a millisecond late when the process has nothing else
// to do, which would be told as the system's latency.
func (s schedule) run(ctx context.Context, now func() int64, until int64, send func(k uint64, due int64) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer exactTimer()()
	for k := uint64(0); ; k++ {
		due := s.due(k)
		if due >= until {
			return nil
		}
		for wait := due - now(); wait > 0; wait = due - now() {
			nap(min(time.Duration(wait), longestNap))
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
