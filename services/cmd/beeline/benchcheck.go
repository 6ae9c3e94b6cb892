package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// benchCheckCmd tells whether messages have become dearer.
type benchCheckCmd struct {
	Baseline string        `name:"baseline" default:"tools/bench/baseline.json" placeholder:"${default}" help:"File with the ratios to compare with."`
	Update   bool          `name:"update" help:"Write what is measured there, in place of comparing."`
	Rounds   int           `name:"rounds" default:"3" placeholder:"${default}" help:"How often each work is run; the least of the rounds is compared with the least of the floor."`
	For      time.Duration `name:"for" default:"3s" placeholder:"${default}" help:"How long each is measured, in each round."`
}

// Help is the text between the usage and the flags.
func (*benchCheckCmd) Help() string {
	return "Short runs of direct, fanout, calls and idle with --self and --floor. Their ratios to the floor are compared with a file" +
		" that is kept with the source; one that is 25 % worse is a failure. It takes about three minutes, and wants a machine" +
		" that does nothing else."
}

// cases are what is compared. At saturation messages share what goes through NATS, so that only the write is a floor.
func (c *benchCheckCmd) cases() []bench.Case {
	const warm = time.Second
	direct := bench.Direct{Pairs: 200, Size: 128, Window: 16, Batch: true, Warm: warm, For: c.For}
	quiet := bench.Direct{Pairs: 200, Size: 128, Rate: 5000, Burst: 1, Warm: warm, For: c.For}
	fanout := bench.Fanout{Members: 1000, Size: 128, Rate: 20, Warm: warm, For: c.For}
	calls := bench.Calls{Service: "bench", Connections: 50, Window: 16, Keys: 1000, Size: 128, Instances: 3, Warm: warm, For: c.For}
	idle := bench.Idle{Connections: 5000, Settle: c.For, For: time.Second}
	cpu := func(name, floor string) []bench.Ratio {
		return []bench.Ratio{{Name: name, Figure: "cpu_us_per_delivery", Floor: floor}}
	}
	return []bench.Case{
		{Name: "direct, saturated", Work: direct, Ratios: cpu("cpu_to_write", "floor_write_us")},
		{Name: "direct, 5000/s", Work: quiet, Ratios: cpu("cpu_to_floor", "floor_us_per_delivery")},
		{Name: "fanout, 1000 members", Work: fanout, Ratios: cpu("cpu_to_floor", "floor_us_per_delivery")},
		{Name: "calls, 50 connections", Work: calls, Ratios: []bench.Ratio{{Name: "cpu_to_request", Figure: "cpu_us_per_call", Floor: "floor_request_us"}}},
		{Name: "idle, 5000 connections", Work: idle, Ratios: []bench.Ratio{
			{Name: "connect", Figure: "connect_cpu_us", Floor: "floor_connect_us"},
			{Name: "rss", Figure: "rss_kib_per_connection", Floor: "floor_rss_kib"},
		}},
	}
}

// Run measures and compares.
func (c *benchCheckCmd) Run(ctx context.Context, p *process) error {
	if c.Rounds < 1 || c.For < time.Second {
		return usagef("--rounds must be at least 1, and --for at least 1s")
	}
	was, err := bench.ReadBaseline(c.Baseline)
	if err != nil {
		return usagef("--baseline: %w", err)
	}
	before, known := usage.LookAtMachine()
	measured, err := c.measure(ctx, p)
	busy := 0.0
	if known {
		busy = before.OthersSince()
	}
	switch {
	case ctx.Err() != nil:
		return &quietError{}
	case err != nil:
		return err
	case c.Update && busy > mostBusy:
		return fmt.Errorf("%.0f %% of this machine went to others meanwhile: a baseline from it would hide what becomes worse; try again when it does nothing else", 100*busy)
	case c.Update:
		if err := measured.Write(c.Baseline); err != nil {
			return fmt.Errorf("write the baseline: %w", err)
		}
		fmt.Fprintf(p.stdout, "wrote %s: commit it, and say why\n", c.Baseline)
		return nil
	}
	worse, better := was.Compare(measured)
	for _, sentence := range better {
		fmt.Fprintf(p.stdout, "%s: to keep it so, ./task bench:check -- --update\n", sentence)
	}
	if len(worse) > 0 && busy > mostBusy {
		return fmt.Errorf("%s; but %.0f %% of this machine went to others meanwhile, which ratios do not outlive: try again when it does nothing else", strings.Join(worse, "; "), 100*busy)
	}
	if len(worse) > 0 {
		return fmt.Errorf("%s; if that is worth it: ./task bench:check -- --update, and commit %s", strings.Join(worse, "; "), c.Baseline)
	}
	fmt.Fprintln(p.stdout, "nothing is 25 % worse than the baseline")
	return nil
}

// mostBusy is which share of the machine others may take for the check to count. With a load of 5 on two processors, the same
// program was found to be 26 to 29 % dearer by its ratios: who shares a processor pays for cold caches, and a server more
// than the floor.
const mostBusy = 0.1

// measure runs all cases, and prints their ratios.
func (c *benchCheckCmd) measure(ctx context.Context, p *process) (bench.Baseline, error) {
	measured := bench.Baseline{}
	for _, one := range c.cases() {
		f := benchFlags{Self: true, Floor: true, Edges: 2, Rounds: c.Rounds, For: c.For}
		if calls, are := one.Work.(bench.Calls); are {
			f.service, f.instances = calls.Service, calls.Instances
		}
		report, err := f.measure(ctx, p, one.Work, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.Name, err)
		}
		if len(report.Broken) > 0 {
			return nil, fmt.Errorf("%s: this run does not count: %s", one.Name, strings.Join(report.Broken, "; "))
		}
		measured[one.Name] = map[string]float64{}
		for _, ratio := range one.Ratios {
			measured[one.Name][ratio.Name] = ratio.Of(report)
			fmt.Fprintf(p.stdout, "%-24s %-14s %6.2f\n", one.Name, ratio.Name, ratio.Of(report))
		}
	}
	return measured, nil
}
