// Package fleet runs any number of production nodes in one test, with a NATS server and a Redis of their own, and
// clients that speak the protocol byte for byte. What a test changes is configuration, never wiring.
//
// [New] uses TCP and real servers, with links between each node and its servers that can be cut. [Bubble] runs the same
// nodes in fake time, inside testing/synctest.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/broker/embedded"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/presence/presencetest"
)

// Patience is how long a test waits for what should come at once; a loaded machine may take a while.
const Patience = 15 * time.Second

// Fleet is the nodes of one cluster.
type Fleet struct {
	Nodes []*Node
	NATS  *embedded.Server
	Redis *presencetest.Redis // nil in a bubble

	t         testing.TB
	cluster   contracts.ClusterName
	configure []func(*node.Config)
	open      func(f *Fleet, i int) *Node // how a node reaches its servers
}

// Node is one node of a fleet, and its links.
type Node struct {
	*node.Node
	ID        contracts.NodeID
	NATSLink  *brokertest.Link // nil in a bubble
	RedisLink *brokertest.Link // nil in a bubble

	config node.Config
	dial   dialer
	dead   bool
}

// Option changes a fleet.
type Option func(*Fleet)

// Configure changes the configuration of every node.
func Configure(f func(*node.Config)) Option {
	return func(fl *Fleet) { fl.configure = append(fl.configure, f) }
}

// New starts n nodes, a1 to an of cluster a, over TCP. They are stopped with the test, which fails if a message of theirs
// has no outcome.
func New(tb testing.TB, n int, options ...Option) *Fleet {
	tb.Helper()
	return cluster(tb, "a", brokertest.New(tb), n, options...)
}

// Pair starts two clusters that know each other, a and b, of n nodes each, as New does, and the link between their NATS
// servers.
func Pair(tb testing.TB, n int, options ...Option) (a, b *Fleet, link *brokertest.Link) {
	tb.Helper()
	natsA, natsB, link := brokertest.Linked(tb)
	know := func(other contracts.ClusterName) []Option {
		return append([]Option{Configure(func(c *node.Config) { c.Peers = []contracts.ClusterName{other} })}, options...)
	}
	a, b = cluster(tb, "a", natsA, n, know("b")...), cluster(tb, "b", natsB, n, know("a")...)
	for _, f := range []*Fleet{a, b} {
		for _, x := range f.Nodes {
			Eventually(tb, "the clusters know each other", func() bool { return x.Value("beeline_edge_nodes") == float64(2*n) })
		}
	}
	return a, b, link
}

func cluster(tb testing.TB, name contracts.ClusterName, nats *embedded.Server, n int, options ...Option) *Fleet {
	tb.Helper()
	f := &Fleet{t: tb, cluster: name, NATS: nats, Redis: presencetest.StartRedis(tb), open: overTCP}
	presencetest.Settle(tb, f.Redis.Config(), name)
	for _, o := range options {
		o(f)
	}
	for i := range n {
		f.Start(i)
	}
	return f
}

// Start starts node i, which is new or was stopped.
func (f *Fleet) Start(i int) *Node {
	f.t.Helper()
	n, err := f.TryStart(i)
	if err != nil {
		f.t.Fatal(err)
	}
	if i == len(f.Nodes) {
		f.Nodes = append(f.Nodes, n)
	} else {
		f.Nodes[i] = n
	}
	return n
}

// TryStart starts one more process under the id of node i, and leaves it to the caller what it is.
func (f *Fleet) TryStart(i int) (*Node, error) {
	f.t.Helper()
	n := f.open(f, i)
	for _, c := range f.configure {
		c(&n.config)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.t.Context()), Patience)
	defer cancel()
	var err error
	if n.Node, err = node.Start(ctx, n.config); err != nil {
		return nil, err
	}
	f.t.Cleanup(func() { n.stop(f.t) })
	return n, nil
}

// config is what the nodes of all fleets share: short times, names without tokens.
func (f *Fleet) config(i int) node.Config {
	c := node.DefaultConfig()
	c.Cluster, c.Node = f.cluster, contracts.NodeID(fmt.Sprint(f.cluster, i+1))
	c.Listen = "127.0.0.1:0"
	c.Admin = ""
	c.Anonymous = true
	c.AllowSend, c.AllowGroups, c.AllowWatch = []string{"*"}, []string{"*"}, []string{"*"}
	c.AllowCall = []string{"*"}
	c.DrainTime = 0
	c.StopTime = 10 * time.Second
	c.Edge.AckTimeout = 2 * time.Second // a loaded machine is not a dead one
	c.Edge.MessageRate = 0
	c.Edge.ByteRate = 0
	if os.Getenv("BEELINE_TEST_LOG") != "" {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return c
}

func overTCP(f *Fleet, i int) *Node {
	n := &Node{
		config: f.config(i), dial: dialTCP,
		NATSLink: brokertest.NewLink(f.t, f.NATS.URL()), RedisLink: brokertest.NewLink(f.t, f.Redis.Addr()),
	}
	n.ID = n.config.Node
	n.config.TCPListen = "127.0.0.1:0"
	n.config.NATS = broker.Config{URLs: []string{"nats://" + n.NATSLink.Addr()}}
	n.config.Redis = presence.Redis{Addrs: []string{n.RedisLink.Addr()}, Timeout: 2 * time.Second}
	return n
}

// Stop stops a node in good order.
func (n *Node) Stop(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), 2*Patience)
	defer cancel()
	n.dead = true
	if err := n.Node.Stop(ctx); err != nil {
		tb.Errorf("stop %s: %v", n.ID, err)
	}
}

// stop is what happens to every node at the end of its test.
func (n *Node) stop(tb testing.TB) {
	tb.Helper()
	if !n.dead {
		n.Stop(tb)
	}
	read, ended := n.Outcomes()
	sum := uint64(0)
	for _, v := range ended {
		sum += v
	}
	if sum != read {
		tb.Errorf("node %s read %d messages, and %d outcomes: %v", n.ID, read, sum, ended)
	}
	if read, ended := n.Value("beeline_edge_calls_total"), n.Value("beeline_edge_call_outcomes_total"); read != ended {
		tb.Errorf("node %s read %v calls, and %v outcomes", n.ID, read, ended)
	}
}

// Outcomes is how many messages the node read from its clients, and how they ended.
func (n *Node) Outcomes() (read uint64, ended map[contracts.Outcome]uint64) {
	ended = map[contracts.Outcome]uint64{}
	for _, m := range n.gather("beeline_edge_outcomes_total") {
		if v := uint64(m.GetCounter().GetValue()); v > 0 {
			ended[contracts.Outcome(m.GetLabel()[2].GetValue())] = v
		}
	}
	return uint64(n.Value("beeline_edge_messages_total")), ended
}

// Value is the sum of a metric over its labels.
func (n *Node) Value(name string) float64 {
	sum := 0.0
	for _, m := range n.gather(name) {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}

func (n *Node) gather(name string) []*dto.Metric {
	families, err := n.Metrics().Gather()
	if err != nil {
		panic(err) // a collector of ours is broken
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()
		}
	}
	panic(errors.New("no metric " + name))
}

// Eventually waits until ok is true.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), Patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			tb.Fatal("never: " + what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}
