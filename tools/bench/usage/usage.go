// Package usage says what the servers' processes have taken of the machine, by the accounting of the operating system,
// here or through a server's /metrics. It never counts the process that asks.
package usage

import (
	"context"
	"fmt"
	"time"
)

// Source is a process that is watched.
type Source interface {
	// Sample returns what the process has taken until now.
	Sample(ctx context.Context) (Sample, error)
}

// Sample is what a process has taken since its start, and what it holds.
type Sample struct {
	CPU      time.Duration         // as the system counts it, in ticks of 10 ms: nothing is ever left out
	RSS      int64                 // resident memory in bytes
	byThread map[int]time.Duration // to the nanosecond, of the threads that live; nil: not known
}

// Since returns the CPU time between two samples of a process. It is that of its threads, to the nanosecond, unless some
// of them have ended, which takes their part of the account with them; then it is what the system has counted in ticks.
func (s Sample) Since(before Sample) time.Duration {
	ticks := s.CPU - before.CPU
	var exact time.Duration
	for _, d := range s.byThread {
		exact += d
	}
	for thread, d := range before.byThread {
		if _, lives := s.byThread[thread]; !lives {
			return ticks
		}
		exact -= d
	}
	// A thread may also have come and gone in between. Ticks are rounded down, twice.
	if s.byThread == nil || before.byThread == nil || exact < ticks-2*tick-ticks/50 {
		return ticks
	}
	return exact
}

// tick is the unit in which /proc counts CPU time: USER_HZ, which is 100 wherever Go runs.
const tick = 10 * time.Millisecond

// Process is a process under the name that it has in the results.
type Process struct {
	Name   string
	Source Source
	Client bool // clients connect to it: its memory is charged to them
}

// Table is a sample of several processes, in their order.
type Table []Sample

// Take samples all processes, one right after the other.
func Take(ctx context.Context, processes []Process) (Table, error) {
	t := make(Table, len(processes))
	for i, p := range processes {
		s, err := p.Source.Sample(ctx)
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", p.Name, err)
		}
		t[i] = s
	}
	return t, nil
}
