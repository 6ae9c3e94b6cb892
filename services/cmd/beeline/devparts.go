package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/embedded"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/api"
	"github.com/beeline-rt/beeline/services/apikey"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/registryserver"
)

// Times of a stop: whoever tries things out does not want to wait.
const (
	devDrainTime = 300 * time.Millisecond
	devStopTime  = 3 * time.Second
)

// devAnswerTime is long: a machine that does everything may be slow to answer, and no edge can be down while the gateway is not.
const devAnswerTime = 2 * time.Second

// clusterPlan is a cluster that dev runs: its own NATS and Redis, these edges, and a way in.
type clusterPlan struct {
	name              contracts.ClusterName
	nats              int // its port
	edges             []edgePlan
	gateway, registry portPlan
}

// edgePlan is an edge that dev runs.
type edgePlan struct {
	node contracts.NodeID
	portPlan
}

// portPlan are the ports that a part should have; 0 is a free one.
type portPlan struct{ port, admin int }

// adminAbove is how far the admin port of a registry or a gateway is above its port, unless another first one was asked for.
const adminAbove = 1000

// twoClusters is the plan of dev. Another edge or cluster is another line here; another kind of part is another step in
// [dev.start].
func twoClusters(c devCmd) []clusterPlan {
	admin := 9081
	switch {
	case c.Admin != nil:
		admin = *c.Admin
	case c.Port == 0:
		admin = 0
	}
	next := func(first, n int) int {
		if first == 0 {
			return 0
		}
		return first + n
	}
	edge := func(node contracts.NodeID, n int) edgePlan {
		return edgePlan{node, portPlan{next(c.Port, n), next(admin, n)}}
	}
	front := func(first string, n int) (p portPlan) {
		if _, text, err := net.SplitHostPort(first); err == nil && c.Port != 0 {
			p.port, _ = strconv.Atoi(text)
			p.port += n
		}
		if p.port != 0 && admin != 0 {
			p.admin = p.port + adminAbove
		}
		return p
	}
	gateway, registry := gatewayserver.DefaultConfig().Listen, registryserver.DefaultConfig().Listen
	return []clusterPlan{
		{
			name: "a", nats: c.NATSPort, edges: []edgePlan{edge("a1", 0), edge("a2", 1)},
			gateway: front(gateway, 0), registry: front(registry, 0),
		},
		{
			name: "b", nats: next(c.NATSPort, 1), edges: []edgePlan{edge("b1", 2), edge("b2", 3)},
			gateway: front(gateway, 1), registry: front(registry, 1),
		},
	}
}

// dev is a running system. It is used by one goroutine.
type dev struct {
	// Static after construction.
	process *process
	log     *slog.Logger
	options devCmd
	plan    []clusterPlan
	ticket  string // the key that tickets are signed with, in base64

	started []part   // in the order of their start
	taken   []string // ports that parts should have had
}

// part is something that runs.
type part struct {
	layer   int // parts of one layer are stopped together, the highest first
	cluster contracts.ClusterName
	name    string
	address string
	about   string
	api     string // where backends ask; empty: nowhere
	stop    func(context.Context) error

	// Of a part that may end by itself: closed when it cannot go on, and why.
	done <-chan struct{}
	err  func() error
}

// String names the part among all.
func (p part) String() string { return fmt.Sprintf("%s of cluster %s", p.name, p.cluster) }

// cluster is what the parts of one need of each other.
type cluster struct {
	plan     clusterPlan
	nats     string
	leaf     int // port where the NATS of other clusters links to this one's; 0: it links to theirs
	redis    presence.Redis
	gateways []string // where its gateway takes clients: over WebSocket, over raw TCP
}

// The layers. Whoever needs another part is above it.
const (
	layerServers = iota
	layerServices
	layerEdges
	layerGateways
	layerRegistries
	layers // how many there are
)

// start starts part after part, those of all clusters. After an error, what was started before still runs.
func (d *dev) start(ctx context.Context) error {
	var all []*cluster
	for _, plan := range d.plan {
		all = append(all, &cluster{plan: plan})
	}
	for _, step := range []func(context.Context, []*cluster) error{
		d.startNATS, d.startRedis, d.startEdges, d.startEcho, d.startGateways, d.startRegistries,
	} {
		if err := step(ctx, all); err != nil {
			return err
		}
	}
	return nil
}

// portTries is how often a free port is looked for: it can be gone before a server takes it.
const portTries = 3

// startNATS starts the servers, each linked to the first as a leaf node.
func (d *dev) startNATS(_ context.Context, all []*cluster) error {
	for i, c := range all {
		var s *embedded.Server
		var err error
		for range portTries {
			o := embedded.Options{Port: c.plan.nats, Name: "nats-" + string(c.plan.name)}
			if i > 0 {
				o.LeafOf = []string{net.JoinHostPort(localhost, strconv.Itoa(all[0].leaf))}
			} else if c.leaf, err = freePort(); err != nil {
				return err
			}
			o.LeafPort = c.leaf
			if s, err = embedded.Start(o); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
		c.nats = s.URL()
		d.started = append(d.started, part{
			layer: layerServers, cluster: c.plan.name, name: "NATS", address: s.URL(), about: "embedded",
			stop: func(context.Context) error { s.Shutdown(); return nil },
		})
	}
	return nil
}

func (d *dev) startRedis(ctx context.Context, all []*cluster) error {
	for _, c := range all {
		r, err := startRedis(ctx, d.options.Redis)
		if err != nil {
			return err
		}
		c.redis = presence.Redis{Addrs: []string{r.addr}}
		d.started = append(d.started, part{
			layer: layerServers, cluster: c.plan.name, name: "Redis", address: r.addr, about: r.what, stop: r.stop,
		})
		if err := presence.Settle(ctx, c.redis, c.plan.name); err != nil { // it is new, and lacks nothing
			return err
		}
	}
	return nil
}

func (d *dev) startEdges(ctx context.Context, all []*cluster) error {
	for _, c := range all {
		for _, plan := range c.plan.edges {
			n, err := d.process.start(ctx, d.nodeConfig(c, plan))
			if err != nil {
				return fmt.Errorf("edge %s did not start: %w", plan.node, err)
			}
			d.add(layerEdges, c, "edge "+string(plan.node), n)
		}
	}
	return nil
}

// add takes over a part that runs.
func (d *dev) add(layer int, c *cluster, name string, n runningNode) {
	d.started = append(d.started, part{
		layer: layer, cluster: c.plan.name, name: name, address: n.URL(), about: "admin " + n.AdminURL() + tcpSuffix(n) + apiSuffix(n),
		api:  strings.TrimPrefix(apiSuffix(n), " api "),
		stop: n.Stop, done: n.Done(), err: n.Err,
	})
}

// What an edge listens on besides its port, counted from that; raw TCP a gateway, too.
const (
	devAPIPort = 10
	devTCPPort = 100
)

// beside returns a port that is so far from another; 0 picks a free one.
func beside(port, far int) int {
	if port == 0 || port+far > math.MaxUint16 {
		return 0
	}
	return port + far
}

// nodeConfig is that of a production node, but for who may come in and for how long a stop may take.
func (d *dev) nodeConfig(c *cluster, plan edgePlan) node.Config {
	cfg := node.DefaultConfig()
	cfg.Cluster, cfg.Node = c.plan.name, plan.node
	for _, other := range d.plan {
		if other.name != c.plan.name {
			cfg.Peers = append(cfg.Peers, other.name)
		}
	}
	cfg.Zone = contracts.Zone(c.plan.name) // so that one can ask the registry for either
	cfg.Listen, cfg.Admin = d.address(plan.port), d.address(plan.admin)
	cfg.TCPListen = d.address(beside(plan.port, devTCPPort))
	cfg.NATS = broker.Config{URLs: []string{c.nats}}
	cfg.Redis = c.redis
	everything := []string{"*"}
	cfg.Anonymous, cfg.AllowSend, cfg.AllowGroups, cfg.AllowWatch = true, everything, everything, everything
	cfg.APIListen, cfg.APINATS, cfg.APIKeys = d.address(beside(plan.port, devAPIPort)), true, devAPIKeys()
	cfg.AllowCall = everything
	cfg.Profiles = true
	cfg.Edge.Origins = []string{"*"}
	cfg.DrainTime, cfg.StopTime = devDrainTime, devStopTime
	cfg.Logger = d.log
	return cfg
}

// devKey is the API key of a backend in dev, where anybody on the machine may be anybody anyway.
const devKey = "beeline-dev"

// devAPIKeys lets devKey do all that needs no token key.
func devAPIKeys() []node.APIKey {
	everything := []string{"*"}
	return []node.APIKey{{
		Name: "dev", SHA256: apikey.Of(devKey).String(), From: everything, Clients: everything, Groups: everything,
		Scopes: []api.Scope{api.ScopeSend, api.ScopePublish, api.ScopePresence, api.ScopeMembers, api.ScopeDisconnect},
	}}
}

// address returns where to listen, and remembers if that is not where a person would look.
func (d *dev) address(port int) string {
	addr, taken := listenAddress(port)
	if taken {
		d.taken = append(d.taken, strconv.Itoa(port))
	}
	return addr
}

// listen is address for a part that is given a listener.
func (d *dev) listen(port int) (net.Listener, error) {
	l, err := listen(port)
	if err != nil && port != 0 {
		d.taken = append(d.taken, strconv.Itoa(port))
		return listen(0)
	}
	return l, err
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
		return fmt.Errorf("%s cannot go on: %w", s, s.err())
	case <-ctx.Done():
		return nil
	}
}

// stop stops the layers from the highest to the lowest: an edge needs NATS and Redis to say good-bye.
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
				errs[i] = fmt.Errorf("%s: %w", s, err)
			}
		})
	}
	stops.Wait()
	return errors.Join(errs...)
}
