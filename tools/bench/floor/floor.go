// Package floor measures what cannot be avoided: a write to a socket for each delivery, a message through NATS, a
// connection that is accepted and held. Each is done by as little as can do it, in processes of their own, at the rate of
// the work that it is compared with. A result as a ratio to it holds on a noisy machine, where a time does not.
//
// It does nothing that a messaging server must do. A server is below it only where it gathers what the floor does not.
package floor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/proc"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// Names of the parts.
const (
	writePart     = "floor-write"
	readPart      = "floor-read"
	publishPart   = "floor-publish"
	subscribePart = "floor-subscribe"
	acceptPart    = "floor-accept"
	dialPart      = "floor-dial"

	// NATSPart is a NATS server, which the program provides: it answers whatever it is asked with a [NATS].
	NATSPart = "nats"
)

// NATS is what the part that is a NATS server says of itself.
type NATS struct {
	URL      string `json:"url"`
	Messages uint64 `json:"messages"` // in and out, since its start
}

// Pattern is how messages go.
type Pattern struct {
	Rate  float64       `json:"rate"`  // per second
	Burst int           `json:"burst"` // so many at the same moment
	Size  int           `json:"size"`  // of each, in bytes
	For   time.Duration `json:"for"`
}

// warmTime is how long a pattern runs before it is measured.
const warmTime = 300 * time.Millisecond

// parts are processes that are measured together.
type parts struct {
	all []*proc.Part
}

func (p *parts) start(ctx context.Context, command []string, name string) (*proc.Part, error) {
	one, err := proc.Start(ctx, command, name)
	if err == nil {
		p.all = append(p.all, one)
	}
	return one, err
}

func (p *parts) stop() {
	for _, one := range slices.Backward(p.all) {
		one.Stop()
	}
}

// watch returns processes to be measured.
func watch(parts ...*proc.Part) []usage.Process {
	var all []usage.Process
	for _, p := range parts {
		all = append(all, usage.Process{Name: fmt.Sprint("process ", p.PID()), Source: usage.PID(p.PID())})
	}
	return all
}

// spent returns the CPU time that processes take while f runs.
func spent(ctx context.Context, processes []usage.Process, f func() error) (time.Duration, error) {
	before, err := usage.Take(ctx, processes)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := usage.Take(ctx, processes)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for i := range processes {
		sum += after[i].Since(before[i])
	}
	return sum, nil
}

// runPattern has a process do a pattern, first for a little while, and returns what it and others spent for each message.
func runPattern(ctx context.Context, doer *proc.Part, pattern Pattern, charged ...*proc.Part) (time.Duration, error) {
	var did count
	short := pattern
	short.For = min(warmTime, pattern.For)
	if err := doer.Call(ctx, runRequest{Run: &short}, &did); err != nil {
		return 0, err
	}
	total, err := spent(ctx, watch(charged...), func() error { return doer.Call(ctx, runRequest{Run: &pattern}, &did) })
	if err != nil {
		return 0, err
	}
	if did.N == 0 {
		return 0, fmt.Errorf("measure the floor: nothing was sent within %v at %g a second", pattern.For, pattern.Rate)
	}
	return total / time.Duration(did.N), nil
}

// count is how many a part has done.
type count struct {
	N int `json:"n"`
}

// runRequest asks a part to connect, or to run a pattern.
type runRequest struct {
	Address string   `json:"address,omitempty"`
	Conns   int      `json:"conns,omitempty"`
	Run     *Pattern `json:"run,omitempty"`
}

// addressAnswer is where a part listens.
type addressAnswer struct {
	Address string `json:"address"`
}
