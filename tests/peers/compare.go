package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// runTime bounds one run of one work against one system: none takes nearly as long.
const runTime = 3 * time.Minute

var errTooLong = fmt.Errorf("it took longer than %v", runTime)

// compare measures all peers, turn about: in each round each work is done by all, one right after the other, and another one
// begins.
func compare(ctx context.Context, o options, chosen []peer, progress io.Writer) (*table, error) {
	for _, p := range chosen {
		if p.prepare == nil {
			continue
		}
		if err := p.prepare(ctx); err != nil {
			return nil, err
		}
	}
	before, known := usage.LookAtMachine()
	t := newTable(chosen)
	all := slices.DeleteFunc(comparisons(o.short), func(c comparison) bool { return !strings.HasPrefix(c.name, o.works) })
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no work whose name begins with %q: they are direct, fanout and idle", o.works)
	}
	results := make([]map[string][]*bench.Result, len(all))
	for i := range results {
		results[i] = map[string][]*bench.Result{}
	}
	for round := range o.rounds {
		for i, c := range all {
			for k := range chosen {
				p := chosen[(k+round)%len(chosen)]
				if !p.takes(c.work) {
					continue
				}
				fmt.Fprintf(progress, "round %d of %d: %s: %s\n", round+1, o.rounds, c.name, p.title)
				r, about, err := once(ctx, p, c.work)
				if err != nil {
					return nil, err
				}
				t.About[p.name] = about
				results[i][p.name] = append(results[i][p.name], r)
			}
		}
	}
	for i, c := range all {
		t.add(c, results[i])
	}
	t.Machine = fmt.Sprintf("%d processors, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	if known {
		t.Others = before.OthersSince()
	}
	return t, nil
}

// once does a work against a system that is up for just that long. What a system does not stand is a result: its own.
func once(ctx context.Context, p peer, w bench.Work) (*bench.Result, string, error) {
	limited, cancel := context.WithTimeoutCause(ctx, runTime, errTooLong)
	defer cancel()
	program, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("find this program: %w", err)
	}
	system, err := p.start(limited)
	if err != nil {
		return nil, "", errors.Join(ctx.Err(), err)
	}
	defer system.stop()
	env := bench.Env{Driver: p.driver, URLs: system.URLs, Servers: system.Processes(), Command: []string{program, partArg, p.name}}
	if err := w.Validate(env); err != nil {
		return nil, "", err
	}
	r, err := w.Run(limited, env)
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	if err != nil {
		r = &bench.Result{Outcomes: map[string]uint64{}, Figures: map[string]float64{}, Broken: []string{err.Error()}}
	}
	return r, system.about, nil
}
