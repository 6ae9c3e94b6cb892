package fleet

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence/presencetest"
)

// Cluster is a whole cluster of real processes, as an operator would start them: NATS, Redis, edges, a registry and a
// gateway. Each has an address of its own that it keeps, so that it can be killed and started again. It is for one goroutine.
type Cluster struct {
	Name     contracts.ClusterName
	Redis    *presencetest.Redis
	NATS     *Part
	Edges    []*Part
	Registry *Part
	Gateway  *Part
	// Link is between the first edge and NATS, if the plan has one.
	Link *brokertest.Link

	t     testing.TB
	plan  Plan
	peers []contracts.ClusterName
}

// Plan says what clusters consist of.
type Plan struct {
	Edges         int
	EdgeFlags     []string
	GatewayFlags  []string
	RegistryFlags []string
	Link          bool // puts a link between the first edge and NATS
}

// Part is a process of a cluster, which can be started again.
type Part struct {
	*Process        // the latest
	Name     string // of an edge, its node
	URL      string // where it is spoken to
	Admin    string // of its metrics; empty: none

	t         testing.TB
	program   string
	args      []string
	variables []string
	in        io.WriteCloser // of NATS
}

// TicketKey is what the registries and gateways of all clusters sign and check tickets with, as their flag has it. Tests that
// sign by themselves take [TicketSecrets].
var TicketKey = "base64:" + ticketSecret

var ticketSecret = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))

// TicketSecrets are those of [TicketKey].
func TicketSecrets(tb testing.TB) contracts.TicketSecrets {
	tb.Helper()
	s, err := contracts.ParseTicketSecrets(ticketSecret)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// RunClusters starts clusters that know each other, and returns when all of their parts are ready. They end with the test.
func RunClusters(tb testing.TB, plan Plan, names ...contracts.ClusterName) []*Cluster {
	tb.Helper()
	var all []*Cluster
	for _, name := range names {
		c := &Cluster{Name: name, t: tb, plan: plan, Redis: presencetest.StartRedis(tb)}
		presencetest.Settle(tb, c.Redis.Config(), name)
		c.NATS = &Part{Name: "nats", URL: natsScheme + stableAddress(tb), t: tb}
		c.NATS.variables = []string{NATSVariable + "=" + c.NATS.host() + " " + stableAddress(tb)}
		c.Gateway = c.part("gateway", "ws", "/v1/ws", "gateway", "--ticket-key", TicketKey, "--drain-time", "0s")
		c.Gateway.args = append(c.Gateway.args, plan.GatewayFlags...)
		c.Registry = c.part("registry", "http", "", "registry", "--ticket-key", TicketKey, "--anonymous", "--client-rate", "0")
		c.Registry.args = append(c.Registry.args, plan.RegistryFlags...)
		all = append(all, c)
	}
	for i, c := range all { // now that all have their addresses
		for _, o := range all[:i] {
			c.NATS.variables[0] += " " + o.NATS.leaf()
		}
		c.introduce(all)
		for i := range plan.Edges {
			c.Edges = append(c.Edges, c.edge(i))
		}
	}
	for _, c := range all {
		c.start()
	}
	Acquaint(tb, all...)
	return all
}

// Acquaint waits until the registries and the gateways of clusters know all edges that should be there.
func Acquaint(tb testing.TB, all ...*Cluster) {
	tb.Helper()
	for _, c := range all {
		Eventually(tb, "the registry and the gateway know the fleets", func() bool { return c.knows(all) })
	}
}

// knows tells whether the registry and the gateway know of all edges that should be there.
func (c *Cluster) knows(all []*Cluster) bool {
	c.t.Helper()
	edges := 0
	for _, o := range all {
		edges += len(o.Edges)
	}
	return Metric(c.t, []string{c.Registry.Admin}, "beeline_registry_instances_fit") == float64(edges) &&
		Metric(c.t, []string{c.Gateway.Admin}, "beeline_gateway_instances") == float64(len(c.Edges))
}

const natsScheme = "nats://"

// introduce tells the registry and the gateway of all clusters.
func (c *Cluster) introduce(all []*Cluster) {
	for _, o := range all {
		c.Registry.args = append(c.Registry.args, "--gateway", fmt.Sprintf("%s=%s", o.Name, o.Gateway.URL))
		if o == c {
			continue
		}
		c.peers = append(c.peers, o.Name)
		c.Gateway.args = append(c.Gateway.args, "--peer", fmt.Sprintf("%s=%s", o.Name, o.Gateway.host()))
		c.Registry.args = append(c.Registry.args, "--cluster-redis", fmt.Sprintf("%s=%s", o.Name, o.Redis.Addr()))
	}
}

// leaf is where the NATS of other clusters links to this one.
func (p *Part) leaf() string { return strings.Fields(p.variables[0])[1] }

func (c *Cluster) edge(i int) *Part {
	c.t.Helper()
	nats := c.NATS.URL
	if i == 0 && c.plan.Link {
		c.Link = brokertest.NewLink(c.t, nats)
		nats = natsScheme + c.Link.Addr()
	}
	name := fmt.Sprint(c.Name, i+1)
	p := c.part(name, "ws", "/v1/ws", "edge", "--node", name, "--nats-url", nats,
		"--anonymous", "--allow-send", "*", "--allow-groups", "*", "--allow-watch", "*", "--drain-time", "0s", "--message-rate", "0", "--byte-rate", "0")
	for _, o := range c.peers {
		p.args = append(p.args, "--peer-cluster", string(o))
	}
	p.args = append(p.args, c.plan.EdgeFlags...)
	return p
}

// host is the host:port of a part's address.
func (p *Part) host() string {
	_, rest, _ := strings.Cut(p.URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// part is a process of beeline with an address for clients and one for metrics.
func (c *Cluster) part(name, scheme, path string, args ...string) *Part {
	c.t.Helper()
	listen, admin := stableAddress(c.t), stableAddress(c.t)
	return &Part{
		Name: name, URL: scheme + "://" + listen + path, Admin: "http://" + admin, t: c.t, program: Binary(c.t),
		args: append(args, "--cluster", string(c.Name), "--listen", listen, "--admin", admin, "--redis-addr", c.Redis.Addr(), "--redis-timeout", "2s"),
	}
}

// parts are the processes but for Redis, those that others need first.
func (c *Cluster) parts() []*Part {
	return slices.Concat([]*Part{c.NATS}, c.Edges, []*Part{c.Registry, c.Gateway})
}

// start starts all parts, NATS first, and waits until they are ready.
func (c *Cluster) start() {
	c.t.Helper()
	c.NATS.Start()
	for _, p := range c.parts()[1:] {
		p.launch()
	}
	for _, p := range c.parts()[1:] {
		p.await()
	}
}

// AddEdge starts one more edge.
func (c *Cluster) AddEdge() *Part {
	c.t.Helper()
	p := c.edge(len(c.Edges))
	c.Edges = append(c.Edges, p)
	p.Start()
	return p
}

// RunDirectRegistry starts one more registry, which sends clients to the edges themselves.
func (c *Cluster) RunDirectRegistry() *Part {
	c.t.Helper()
	p := c.part("direct", "http", "", "registry", "--ticket-key", TicketKey, "--anonymous", "--client-rate", "0", "--direct")
	p.Start()
	return p
}

// Edge returns the edge with this node id.
func (c *Cluster) Edge(n contracts.NodeID) *Part {
	c.t.Helper()
	for _, e := range c.Edges {
		if e.Name == string(n) {
			return e
		}
	}
	c.t.Fatalf("cluster %s has no edge %s", c.Name, n)
	return nil
}

// Kill ends all parts at once, as a power cut does.
func (c *Cluster) Kill() {
	var all sync.WaitGroup
	all.Go(c.Redis.Kill)
	for _, p := range c.parts() {
		all.Go(p.Kill)
	}
	all.Wait()
}

// Restart starts a killed cluster again, with an empty Redis.
func (c *Cluster) Restart() {
	c.t.Helper()
	c.Redis.Restart(c.t)
	c.start()
}

// Admins are the addresses of the edges' metrics.
func (c *Cluster) Admins() []string {
	var all []string
	for _, e := range c.Edges {
		all = append(all, e.Admin)
	}
	return all
}

// Messages is how many messages the cluster's NATS has taken in and given out since it started.
func (c *Cluster) Messages() uint64 {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.NATS.in); err != nil {
		c.t.Fatalf("ask NATS: %v", err)
	}
	line := c.NATS.Line(natsMessages)
	n, err := strconv.ParseUint(strings.TrimPrefix(line, natsMessages), 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// Start starts a part that was killed, or is new, and waits until it is ready.
func (p *Part) Start() {
	p.t.Helper()
	p.launch()
	p.await()
}

func (p *Part) launch() {
	p.t.Helper()
	if p.program == "" {
		p.Process, p.in = runNATS(p.t, p.variables)
		return
	}
	p.Process = Run(p.t, p.program, p.args...)
}

func (p *Part) await() {
	p.t.Helper()
	p.Line("is ready")
}

var stable struct {
	sync.Mutex
	given map[int]bool
}

// stableAddress returns a free address that stays free when whoever listens there is killed and comes back: its port is none
// of those that the system hands out for connections, nor of those that presencetest takes, nor given twice.
func stableAddress(tb testing.TB) string {
	tb.Helper()
	stable.Lock()
	defer stable.Unlock()
	if stable.given == nil {
		stable.given = map[int]bool{}
	}
	for range 1000 {
		port := 5000 + rand.IntN(6000)
		if stable.given[port] {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", address)
		if err != nil {
			continue
		}
		_ = ln.Close()
		stable.given[port] = true
		return address
	}
	tb.Fatal("no free port was found")
	return ""
}
