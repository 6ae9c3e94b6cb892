package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// devCmd runs a whole system in this process.
type devCmd struct {
	Port     int      `name:"port" env:"BEELINE_DEV_PORT" default:"8081" placeholder:"${default}" help:"Port of the first edge; the next has the next one. 0 picks free ones."`
	Admin    int      `name:"admin-port" env:"BEELINE_DEV_ADMIN_PORT" default:"9081" placeholder:"${default}" help:"Port of the first edge's metrics and health; the next has the next one."`
	NATSPort int      `name:"nats-port" env:"BEELINE_DEV_NATS_PORT" default:"0" placeholder:"PORT" help:"Port of NATS. Not given: a free one."`
	Redis    string   `name:"redis" env:"BEELINE_DEV_REDIS" enum:"auto,server,embedded" default:"auto" placeholder:"${default}" help:"Redis: server (a redis-server on PATH), embedded, or auto: the server if there is one."`
	Log      logFlags `embed:"" set:"log_level=warn"`
}

// Help is the text between the usage and the flags.
func (*devCmd) Help() string {
	return "NATS, Redis and two edges, all on 127.0.0.1. Clients name themselves, and nothing is kept: Ctrl-C ends everything."
}

// Run starts the system, tells how to use it, and stops it when ctx ends or a part of it cannot go on.
func (c *devCmd) Run(ctx context.Context, p *process) error {
	d := &dev{process: p, log: c.Log.logger(p.stderr, p.terminal), options: *c, plan: twoEdges(c.Port, c.Admin)}
	defer p.tuneCollector(context.WithoutCancel(ctx))()
	done := p.waiting("starting NATS, Redis and the edges")
	err := d.start(ctx)
	done()
	if err == nil {
		d.explain(p.stdout)
		err = d.wait(ctx)
		fmt.Fprintln(p.stderr, "stopping")
	}
	if ctx.Err() != nil {
		err = nil // it was asked for, be it in the midst of the start
	}
	// What was started is stopped, whatever ended the start.
	if stopErr := d.stop(context.WithoutCancel(ctx)); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("stop: %w", stopErr))
	}
	return err
}

// explain says what runs, and what to try.
func (d *dev) explain(w io.Writer) {
	fmt.Fprintln(w, "Everything runs on this machine and keeps nothing. Ctrl-C ends it.")
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range d.started {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", s.name, s.address, s.about)
	}
	_ = table.Flush()
	if len(d.taken) > 0 {
		fmt.Fprintf(w, "\nNote: already in use, so that free ports were taken instead: %s.\n", strings.Join(d.taken, ", "))
	}
	first, last := d.firstAndLastEdge()
	fmt.Fprintf(w, `
Try it in two other terminals, with bob on %[2]s and alice on %[3]s:

  %[1]s listen --as bob --url %[4]s
  %[1]s send --as alice --to bob --url %[5]s '{"hi":1}'

To a group, all members get it:

  %[1]s listen --as bob --group room --url %[4]s
  %[1]s send --as alice --group room --url %[5]s '{"hi":1}'

Or let them talk:

  %[1]s chat --as bob --to alice --url %[4]s
  %[1]s chat --as alice --to bob --url %[5]s
`, d.process.program, first.name, last.name, first.address, last.address)
}

// firstAndLastEdge returns two edges, different ones if there are.
func (d *dev) firstAndLastEdge() (first, last part) {
	for _, s := range d.started {
		if s.layer != layerEdges {
			continue
		}
		if first.name == "" {
			first = s
		}
		last = s
	}
	return first, last
}
