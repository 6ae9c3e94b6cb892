package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/tools/bench"
)

// benchGatewayCmd is the work gateway.
type benchGatewayCmd struct {
	Pairs       int           `name:"pairs" default:"200" placeholder:"${default}" help:"Senders, each with a recipient of its own, all on one edge."`
	Size        size          `name:"size" default:"128" placeholder:"${default}" help:"Data of a message, in bytes."`
	Rate        float64       `name:"rate" default:"2000" placeholder:"${default}" help:"Messages per second of all pairs together, each at its time, so that each way carries the same; 0: as many as can be."`
	Window      int           `name:"window" default:"16" placeholder:"${default}" help:"With --rate 0: messages of a pair that may wait for their answer."`
	Connections int           `name:"connections" default:"5000" placeholder:"${default}" help:"Connections over which nothing is said, for what each takes of memory."`
	Settle      time.Duration `name:"settle" default:"8s" placeholder:"${default}" help:"From the last of these to when memory is looked at, so that garbage is collected."`
	Warm        time.Duration `name:"warm-up" default:"2s" placeholder:"${default}" help:"Before messages are measured."`
	For         time.Duration `name:"for" default:"10s" placeholder:"${default}" help:"How long messages are measured, on each way."`
	Rounds      int           `name:"rounds" default:"1" placeholder:"${default}" help:"How often, each time on a system of its own and beginning with another way; then medians are told, and the least and the most."`
	HAProxy     string        `name:"haproxy" default:"haproxy" placeholder:"${default}" help:"The program. It is looked for where administrators have it, too."`
	Profile     string        `name:"profile" placeholder:"DIR" help:"Save a CPU profile of the gateway over the measured part."`
	JSON        bool          `name:"json" help:"One line of JSON in place of the table. tools/bench/README.md explains the names."`
}

// Help is the text between the usage and the flags.
func (*benchGatewayCmd) Help() string {
	return "What a message and a connection cost on their way through beeline gateway, through HAProxy in TCP mode, and with nothing" +
		" between client and edge; each in the same run, in front of the same edge, turn about:\n\n" +
		"  beeline bench gateway --rounds 3\n\n" +
		"It starts all of it, on this machine, and needs a redis-server and haproxy. Figures without a name are the gateway's."
}

// flags are those that other works have, as far as they count here.
func (c *benchGatewayCmd) flags() benchFlags {
	return benchFlags{Self: true, Edges: 1, Rounds: c.Rounds, JSON: c.JSON, Profile: c.Profile}
}

// Run runs the work.
func (c *benchGatewayCmd) Run(ctx context.Context, p *process) error {
	f := c.flags()
	if err := f.check(); err != nil {
		return err
	}
	work := bench.Proxied{
		Ways: make([]bench.Way, 1), Connections: c.Connections, Settle: c.Settle,
		Direct: bench.Direct{Pairs: c.Pairs, Size: int(c.Size), Rate: c.Rate, Burst: 1, Window: c.Window, Warm: c.Warm, For: c.For},
	}
	// Before anything is started.
	if err := work.Validate(f.plan()); err != nil {
		return usagef("%w (see beeline bench gateway --help)", err)
	}
	var err error
	if c.HAProxy, err = findProxy("haproxy", "HAProxy", c.HAProxy); err != nil {
		return err
	}
	var rounds []*bench.Result
	for work.Turn = range c.Rounds {
		r, err := c.round(ctx, p, work)
		if ctx.Err() != nil {
			return &quietError{} // Ctrl-C
		}
		if err != nil {
			return explainBench(err)
		}
		rounds = append(rounds, r)
	}
	settings := map[string]string{
		"pairs": fmt.Sprint(c.Pairs), "size": c.Size.String(), "rate": fmt.Sprint(c.Rate), "connections": fmt.Sprint(c.Connections),
		"settle": c.Settle.String(), "measured": c.For.String(),
	}
	return f.conclude(p, bench.NewReport(work.Name(), settings, rounds))
}

// round measures all ways to one edge, on a system that is up for just that long.
func (c *benchGatewayCmd) round(ctx context.Context, p *process, work bench.Proxied) (r *bench.Result, err error) {
	prefix := ""
	if c.Rounds > 1 {
		prefix = fmt.Sprintf("round %d of %d: ", work.Turn+1, c.Rounds)
	}
	progress, done := p.progressLine(prefix)
	defer done()
	progress("starting")
	command, err := benchPart()
	if err != nil {
		return nil, err
	}
	s := &proxiedSystem{}
	defer func() {
		if stopErr := s.stop(context.WithoutCancel(ctx)); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("stop: %w", stopErr))
		}
	}()
	env, err := s.start(ctx, command, c)
	if err != nil {
		return nil, err
	}
	env.Progress = progress
	work.Ways = s.ways
	return work.Run(ctx, env)
}
