package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/beeline-rt/beeline/contracts"
)

// devCmd runs a whole system in this process.
type devCmd struct {
	Port     int      `name:"port" env:"BEELINE_DEV_PORT" default:"8081" placeholder:"${default}" help:"Port of the first edge; the next three have the next ones. 0 picks free ports for everything."`
	Admin    *int     `name:"admin-port" env:"BEELINE_DEV_ADMIN_PORT" placeholder:"9081" help:"Port of the first edge's metrics and health; the next three have the next ones. 0 picks free ones for all parts."`
	NATSPort int      `name:"nats-port" env:"BEELINE_DEV_NATS_PORT" default:"0" placeholder:"PORT" help:"Port of the first NATS; the second has the next one. Not given: free ones."`
	Redis    string   `name:"redis" env:"BEELINE_DEV_REDIS" enum:"auto,server,embedded" default:"auto" placeholder:"${default}" help:"Redis: server (a redis-server on PATH), embedded, or auto: the server if there is one."`
	Log      logFlags `embed:"" set:"log_level=warn"`
}

// Help is the text between the usage and the flags.
func (*devCmd) Help() string {
	return "Two clusters, a and b, all on 127.0.0.1: each has its own NATS and Redis, two edges, a gateway and a registry. Clients name" +
		" themselves, and nothing is kept: Ctrl-C ends everything.\n\n" +
		"The gateways are at ports 8060 and 8061, the registries at 8070 and 8071, their metrics and health 1000 above. Edges and" +
		" gateways take raw TCP 100 above, edges are asked by backends 10 above. A port that is in use is replaced by a free one."
}

// Run starts the system, tells how to use it, and stops it when ctx ends or a part of it cannot go on.
func (c *devCmd) Run(ctx context.Context, p *process) error {
	d := &dev{process: p, log: c.Log.logger(p.stderr, p.terminal), options: *c, plan: twoClusters(*c), ticket: newTicketKey()}
	defer p.tuneCollector(context.WithoutCancel(ctx))()
	done := p.waiting("starting NATS, Redis, edges, gateways and registries")
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
	for _, c := range d.plan {
		fmt.Fprintf(w, "\nCluster %s\n", c.name)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, s := range d.of(c.name) {
			fmt.Fprintf(table, "  %s\t%s\t%s\n", s.name, s.address, s.about)
		}
		_ = table.Flush()
	}
	if len(d.taken) > 0 {
		fmt.Fprintf(w, "\nNote: already in use, so that free ports were taken instead: %s.\n", strings.Join(d.taken, ", "))
	}
	a, b := d.of(d.plan[0].name), d.of(d.plan[len(d.plan)-1].name)
	first, second, last := edgesOf(a)[0], edgesOf(a)[1], edgesOf(b)[0]
	fmt.Fprintf(w, `
Try it in other terminals. Ask the registry where bob should connect, and go there, with the ticket in the address:

  curl -d '{"client":"bob","zone":"a"}' %[2]s/v1/connections
  %[1]s listen --as bob --url "$(curl -s -d '{"client":"bob","zone":"a"}' %[2]s/v1/connections | cut -d '"' -f 10)"

Or let him ask by himself, again whenever he has to, and alice, in cluster b, too; then they chat:

  %[1]s chat --as bob --to alice --registry %[2]s --zone a
  %[1]s chat --as alice --to bob --registry %[3]s --zone b

Over raw TCP it is the same, with --transport tcp:

  %[1]s chat --as carol --to bob --registry %[3]s --transport tcp

Or past registry and gateway, straight to an edge. The last of these is in the other cluster:

  %[1]s listen --as bob --url %[4]s
  %[1]s send --as alice --to bob --url %[5]s '{"hi":1}'
  %[1]s send --as alice --to bob --url %[6]s '{"hi":1}'

To a group, all members get it:

  %[1]s listen --as bob --group room --url %[4]s
  %[1]s send --as alice --group room --url %[5]s '{"hi":1}'

Call an example service of three instances. The same key is the same instance, until that is gone:

  %[1]s call --as alice --service echo --key k1 --url %[4]s '{"n":1}'
  %[1]s call --as alice --service echo --key k1 --url %[4]s '"crash"'

Or be a backend, which asks over HTTP:

  curl -H 'Beeline-Api-Key: %[7]s' -d '{"from":"shop","to":"bob","data":1}' %[8]s/v1/send
`, d.process.program, a[0].address, b[0].address, first.address, second.address, last.address, devKey, first.api)
}

// of returns the parts of a cluster, the highest layer first.
func (d *dev) of(name contracts.ClusterName) (parts []part) {
	for layer := layers - 1; layer >= 0; layer-- {
		for _, s := range d.started {
			if s.cluster == name && s.layer == layer {
				parts = append(parts, s)
			}
		}
	}
	return parts
}

func edgesOf(parts []part) []part {
	return slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.layer != layerEdges })
}
