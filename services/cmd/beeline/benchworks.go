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
	settings := map[string]string{"members": fmt.Sprint(c.Members), "size": c.Size.String(), "rate": fmt.Sprint(c.Rate), "measured": c.Bench.For.String()}
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
	settings := map[string]string{"connections": fmt.Sprint(c.Connections), "settle": c.Settle.String(), "measured": c.Bench.For.String()}
	return c.Bench.run(ctx, p, bench.Idle{Connections: c.Connections, Settle: c.Settle, For: c.Bench.For}, settings)
}

// benchStormCmd is the work storm.
type benchStormCmd struct {
	Bench    benchFlags    `embed:""`
	Clients  int           `name:"clients" default:"5000" placeholder:"${default}" help:"Clients, all connected to the first node, which is then ended."`
	Kill     int           `name:"kill" placeholder:"PID" help:"Without --self: the process of the node at the first --url, which is ended by kill -9."`
	Patience time.Duration `name:"patience" default:"60s" placeholder:"${default}" help:"By when all must be back."`
}

// Help is the text between the usage and the flags.
func (*benchStormCmd) Help() string {
	return "Clients lose their node at once, and come back to the others, as the protocol asks: after a wait drawn from 0 to" +
		" 1s, and longer ones when that fails:\n\n" +
		"  beeline bench storm --self --edges 3 --clients 5000\n\n" +
		"There is no warm-up, and it is as long as it takes."
}

// Run runs the work.
func (c *benchStormCmd) Run(ctx context.Context, p *process) error {
	switch {
	case c.Bench.Self == (c.Kill != 0):
		return usagef("say which node is to be lost: --self, or --url and --kill")
	case !c.Bench.Self && c.Bench.Rounds > 1:
		return usagef("--rounds goes with --self here: a node can be ended once")
	case c.Bench.Plot != "" || c.Bench.Floor || c.Bench.Profile != "":
		return usagef("--plot, --floor and --profile do not go with storm")
	}
	c.Bench.kill = c.Kill
	settings := map[string]string{"clients": fmt.Sprint(c.Clients)}
	return c.Bench.run(ctx, p, bench.Storm{Clients: c.Clients, Patience: c.Patience}, settings)
}

// benchChurnCmd is the work churn.
type benchChurnCmd struct {
	Bench benchFlags    `embed:""`
	Pairs int           `name:"pairs" default:"200" placeholder:"${default}" help:"Senders, each with a recipient of its own."`
	Size  size          `name:"size" default:"128" placeholder:"${default}" help:"Data of a message, in bytes."`
	Rate  float64       `name:"rate" default:"2000" placeholder:"${default}" help:"Messages per second of all pairs together."`
	Share float64       `name:"share" default:"0.2" placeholder:"${default}" help:"Share of the recipients that reconnect, from 0 to 1."`
	Every time.Duration `name:"every" default:"1s" placeholder:"${default}" help:"About how long they stay."`
}

// Help is the text between the usage and the flags.
func (*benchChurnCmd) Help() string {
	return "Messages flow while recipients leave and come back to another node, all the time:\n\n" +
		"  beeline bench churn --self --share 0.2\n\n" +
		"They leave with a close, and read what is still on its way. A message that was answered as delivered and was not" +
		" shown is lost; one that was shown twice, duplicated; one after a later one, reordered. None may be. What nobody was" +
		" there for ends as offline."
}

// Run runs the work.
func (c *benchChurnCmd) Run(ctx context.Context, p *process) error {
	if c.Bench.Floor {
		return usagef("--floor does not go with churn")
	}
	settings := map[string]string{
		"pairs": fmt.Sprint(c.Pairs), "size": c.Size.String(), "rate": fmt.Sprint(c.Rate),
		"share": fmt.Sprint(c.Share), "every": c.Every.String(), "measured": c.Bench.For.String(),
	}
	return c.Bench.run(ctx, p, bench.Churn{
		Pairs: c.Pairs, Size: int(c.Size), Rate: c.Rate, Share: c.Share, Every: c.Every,
		Warm: c.Bench.Warm, For: c.Bench.For, Plot: c.Bench.Plot != "",
	}, settings)
}
