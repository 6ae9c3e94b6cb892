package main

import (
	"context"
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/tools/bench"
)

// benchFanoutCmd is the work fanout.
type benchFanoutCmd struct {
	Bench   benchFlags `embed:""`
	Members int        `name:"members" default:"1000" placeholder:"${default}" help:"Members of the group, spread over all nodes."`
	Size    size       `name:"size" default:"128" placeholder:"${default}" help:"Data of a message, in bytes."`
	Rate    float64    `name:"rate" default:"20" placeholder:"${default}" help:"Messages per second, each of which all members get."`
}

// Help is the text between the usage and the flags.
func (*benchFanoutCmd) Help() string {
	return "One client publishes to a group, and every member gets it:\n\n" +
		"  beeline bench fanout --self --members 1000 --rate 20\n\n" +
		"Costs are per delivery: one message to one member."
}

// Run runs the work.
func (c *benchFanoutCmd) Run(ctx context.Context, p *process) error {
	settings := map[string]string{"members": fmt.Sprint(c.Members), "size": c.Size.String(), "rate": fmt.Sprint(c.Rate)}
	return c.Bench.run(ctx, p, bench.Fanout{
		Members: c.Members, Size: int(c.Size), Rate: c.Rate, Warm: c.Bench.Warm, For: c.Bench.For, Plot: c.Bench.Plot != "",
	}, settings)
}

// benchIdleCmd is the work idle.
type benchIdleCmd struct {
	Bench       benchFlags    `embed:""`
	Connections int           `name:"connections" default:"10000" placeholder:"${default}" help:"Connections, spread over all nodes."`
	Settle      time.Duration `name:"settle" default:"5s" placeholder:"${default}" help:"From the last connection to when memory is looked at, so that garbage is collected; the measured part comes after it."`
}

// Help is the text between the usage and the flags.
func (*benchIdleCmd) Help() string {
	return "Clients connect and say nothing: what memory each takes, what CPU time to connect it, and to keep it:\n\n" +
		"  beeline bench idle --self --connections 10000\n\n" +
		"With --for 30s or more, a round of heartbeats is in the measured part. An edge that is not new has memory left" +
		" from before, so that each new connection seems to take less: restart it for a figure that counts. There is no" +
		" warm-up here."
}

// Run runs the work.
func (c *benchIdleCmd) Run(ctx context.Context, p *process) error {
	if !c.Bench.Self && c.Bench.Rounds > 1 {
		return usagef("--rounds goes with --self here: memory that an edge has once taken is not taken again, so that a second round would flatter")
	}
	if c.Bench.Plot != "" {
		return usagef("--plot: nothing is said here, so there is no latency")
	}
	settings := map[string]string{"connections": fmt.Sprint(c.Connections), "settle": c.Settle.String()}
	return c.Bench.run(ctx, p, bench.Idle{Connections: c.Connections, Settle: c.Settle, For: c.Bench.For}, settings)
}
