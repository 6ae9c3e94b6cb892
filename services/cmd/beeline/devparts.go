package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/embedded"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/presence"
)

// Times of a stop: whoever tries things out does not want to wait.
const (
	devDrainTime = 300 * time.Millisecond
	devStopTime  = 3 * time.Second
)

// clusterPlan is a cluster that dev runs: its own NATS and Redis, and these edges.
type clusterPlan struct {
	name  contracts.ClusterName
	edges []edgePlan
}

// edgePlan is an edge that dev runs, with the ports that it should have; 0 is a free one.
type edgePlan struct {
	node        contracts.NodeID
	port, admin int
}

// twoEdges is the plan of dev. Another edge or cluster is another line here; another kind of part (a registry, a gateway)
// is another step in [dev.start].
func twoEdges(port, admin int) []clusterPlan {
	next := func(first, n int) int {
		if first == 0 {
			return 0
		}
		return first + n
	}
	return []clusterPlan{
		{name: "a", edges: []edgePlan{
			{node: "a1", port: next(port, 0), admin: next(admin, 0)},
			{node: "a2", port: next(port, 1), admin: next(admin, 1)},
		}},
	}
}

// dev is a running system. It is used by one goroutine.
type dev struct {
	// Static after construction.
	process *process
	log     *slog.Logger
	options devCmd
	plan    []clusterPlan

	started []part   // in the order of their start
	taken   []string // ports that parts should have had
}

// part is something that runs.
type part struct {
	layer   int // parts of one layer are stopped together, the highest first
	name    string
	address string
	about   string
	stop    func(context.Context) error

	// Of a part that may end by itself: closed when it cannot go on, and why.
	done <-chan struct{}
	err  func() error
}

// cluster is what the edges of one need.
type cluster struct {
	plan  clusterPlan
	nats  string
	redis string
}

// The layers. Whoever needs another part is above it.
const (
	layerServers = iota
	layerServices
	layerEdges
	layers // how many there are
)

// start starts part after part. After an error, what was started before still runs.
func (d *dev) start(ctx context.Context) error {
	for _, plan := range d.plan {
		c := &cluster{plan: plan}
		for _, step := range []func(context.Context, *cluster) error{d.startNATS, d.startRedis, d.startEdges, d.startEcho} {
			if err := step(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *dev) startNATS(_ context.Context, c *cluster) error {
	s, err := embedded.Start(embedded.Options{Port: d.options.NATSPort, Name: "nats-" + string(c.plan.name)})
	if err != nil {
		return err
	}
	c.nats = s.URL()
	d.started = append(d.started, part{
		layer: layerServers, name: "NATS", address: s.URL(), about: "embedded",
		stop: func(context.Context) error { s.Shutdown(); return nil },
	})
	return nil
}

func (d *dev) startRedis(ctx context.Context, c *cluster) error {
	r, err := startRedis(ctx, d.options.Redis)
	if err != nil {
		return err
	}
	c.redis = r.addr
	d.started = append(d.started, part{layer: layerServers, name: "Redis", address: r.addr, about: r.what, stop: r.stop})
	return presence.Settle(ctx, presence.Redis{Addrs: []string{r.addr}}, c.plan.name) // it is new, and lacks nothing
}

func (d *dev) startEdges(ctx context.Context, c *cluster) error {
	for _, plan := range c.plan.edges {
		if err := d.startEdge(ctx, c, plan); err != nil {
			return err
		}
	}
	return nil
}

func (d *dev) startEdge(ctx context.Context, c *cluster, plan edgePlan) error {
	n, err := d.process.start(ctx, d.nodeConfig(c, plan))
	if err != nil {
		return fmt.Errorf("edge %s did not start: %w", plan.node, err)
	}
	d.started = append(d.started, part{
		layer: layerEdges, name: "edge " + string(plan.node), address: n.URL(), about: "admin " + n.AdminURL(),
		stop: n.Stop, done: n.Done(), err: n.Err,
	})
	return nil
}

// nodeConfig is that of a production node, but for who may come in and for how long a stop may take.
func (d *dev) nodeConfig(c *cluster, plan edgePlan) node.Config {
	cfg := node.DefaultConfig()
	cfg.Cluster, cfg.Node = c.plan.name, plan.node
	cfg.Listen, cfg.Admin = d.address(plan.port), d.address(plan.admin)
	cfg.NATS = broker.Config{URLs: []string{c.nats}}
	cfg.Redis = presence.Redis{Addrs: []string{c.redis}}
	everything := []string{"*"}
	cfg.Anonymous, cfg.AllowSend, cfg.AllowGroups, cfg.AllowWatch = true, everything, everything, everything
	cfg.AllowCall = everything
	cfg.Profiles = true
	cfg.Edge.Origins = []string{"*"}
	cfg.DrainTime, cfg.StopTime = devDrainTime, devStopTime
	cfg.Logger = d.log
	return cfg
}

// address returns where to listen, and remembers if that is not where a person would look.
func (d *dev) address(port int) string {
	addr, taken := listenAddress(port)
	if taken {
		d.taken = append(d.taken, strconv.Itoa(port))
	}
	return addr
}

// wait returns when ctx ends, or with the reason why a part cannot go on.
func (d *dev) wait(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel()
	ended := make(chan part, len(d.started))
	for _, s := range d.started {
		watchers.Go(func() {
			select {
			case <-s.done: // nil in a part that never ends by itself
				ended <- s
			case <-ctx.Done():
			}
		})
	}
	select {
	case s := <-ended:
		return fmt.Errorf("%s cannot go on: %w", s.name, s.err())
	case <-ctx.Done():
		return nil
	}
}

// stop stops the layers from the highest to the lowest: an edge needs NATS and Redis to say goodbye.
func (d *dev) stop(ctx context.Context) error {
	var errs []error
	for layer := layers - 1; layer >= 0; layer-- {
		errs = append(errs, d.stopLayer(ctx, layer))
	}
	return errors.Join(errs...)
}

// stopLayer stops the parts of one layer, all at the same time.
func (d *dev) stopLayer(ctx context.Context, layer int) error {
	errs := make([]error, len(d.started))
	var stops sync.WaitGroup
	for i, s := range d.started {
		if s.layer != layer {
			continue
		}
		stops.Go(func() {
			if err := s.stop(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", s.name, err)
			}
		})
	}
	stops.Wait()
	return errors.Join(errs...)
}
