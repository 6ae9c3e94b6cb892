package tests

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/registry"
	"github.com/beeline-rt/beeline/services/registryserver"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// startGateway starts a gateway of a fleet, as it ships.
func startGateway(t *testing.T, f *fleet.Fleet, change ...func(*gatewayserver.Config)) *gatewayserver.Server {
	t.Helper()
	cfg := gatewayserver.DefaultConfig()
	cfg.Redis = f.Redis.Config()
	cfg.Redis.Timeout = 2 * time.Second
	cfg.Listen, cfg.Admin = "127.0.0.1:0", "127.0.0.1:0"
	cfg.TicketKeys = []string{base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))}
	cfg.Poll, cfg.DrainTime = 50*time.Millisecond, 0
	cfg.Gateway.Probe = time.Second // a loaded machine is not a hung one
	for _, c := range change {
		c(&cfg)
	}
	s, err := gatewayserver.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s)
	return s
}

// through has the registry send clients to these gateways.
func through(gateways ...*gatewayserver.Server) func(*registryserver.Config) {
	return func(c *registryserver.Config) {
		c.Registry.Direct = false
		for _, g := range gateways {
			c.Registry.Gateways = append(c.Registry.Gateways, registry.Gateway{Cluster: "a", URL: g.URL()})
		}
	}
}

func TestClientsGoThroughGatewaysAndTalk(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3)
	one, other := startGateway(t, f), startGateway(t, f)
	r := startRegistry(t, f, through(one, other))
	for _, g := range []*gatewayserver.Server{one, other} {
		fleet.Eventually(t, "the gateway knows instances", func() bool {
			status, _ := request(t, "GET", g.AdminURL()+"/readyz", "")
			return status == 200
		})
	}
	join := func(name contracts.ClientID, key string) *fleet.Client {
		t.Helper()
		return enter(t, assigned(t, r, fmt.Sprintf(`{"client":%q,"key":%q}`, name, key)).Primary.URL, name)
	}
	alice, bob := join("alice", "room-1"), join("bob", "room-1")
	if alice.Ready.Node != bob.Ready.Node {
		t.Errorf("one key is on %s and on %s", alice.Ready.Node, bob.Ready.Node)
	}
	// What those of one room say to each other needs no broker.
	before := 0.0
	for _, n := range f.Nodes {
		before += n.Value("beeline_bus_sent_total")
	}
	for i := range 50 {
		if got := alice.Send("bob", fmt.Sprint(i)); got != "delivered" {
			t.Fatal(got)
		}
		bob.Expect("alice", fmt.Sprint(i))
	}
	after := 0.0
	for _, n := range f.Nodes {
		after += n.Value("beeline_bus_sent_total")
	}
	if after != before {
		t.Errorf("50 messages within a room cost %v node messages", after-before)
	}
	// Others reach them too.
	for i := range 6 {
		c := join(contracts.ClientID(fmt.Sprint("c", i)), fmt.Sprint("room-", i+2))
		if got := c.Send("bob", `1`); got != "delivered" {
			t.Errorf("from %s: %s", c.Ready.Node, got)
		}
		bob.Expect(c.Name, `1`)
	}
	// A ticket is good once, and close codes pass untouched.
	again := assigned(t, r, `{"client":"dave","key":"room-1"}`).Primary.URL
	dave := enter(t, again, "dave")
	if _, status, err := fleet.ConnectURL(t, again, nil, nil); err == nil || status != 401 {
		t.Errorf("the ticket was good again: %d, %v", status, err)
	}
	dave.Raw("{bad")
	if e := dave.Next(); e.Error == nil || e.Error.Code != contracts.CodeBadRequest {
		t.Errorf("%+v", e)
	}
	dave.Raw("\xff")
	if code := dave.Closed(); code != 1007 {
		t.Errorf("closed with %d", code)
	}
}

func TestDeadInstanceIsReplacedByItsAlternateThroughTheGateway(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3)
	g := startGateway(t, f)
	r := startRegistry(t, f, through(g))
	url := func() string { return assigned(t, r, `{"client":"ann","key":"room"}`).Primary.URL }
	first := enter(t, url(), "ann")
	home := 0
	for i, n := range f.Nodes {
		if n.ID == first.Ready.Node {
			home = i
		}
	}
	f.Nodes[home].Stop(t)
	if code := first.Closed(); code != int(contracts.CloseRestart) {
		t.Errorf("closed with %d", code)
	}
	start := time.Now()
	second := enter(t, url(), "ann")
	t.Logf("there again after %v", time.Since(start))
	if second.Ready.Node == first.Ready.Node {
		t.Errorf("on %s, which has stopped", second.Ready.Node)
	}
	if third := enter(t, url(), "ann"); third.Ready.Node != second.Ready.Node {
		t.Errorf("the alternate is %s and then %s", second.Ready.Node, third.Ready.Node)
	}
	f.Start(home)
	fleet.Eventually(t, "it is there again for its keys", func() bool { return enter(t, url(), "ann").Ready.Node == first.Ready.Node })
}

func TestEdgeSeesTheClientsAddressThroughTheGateway(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.ProxyTrust = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }))
	g := startGateway(t, f, func(c *gatewayserver.Config) { c.Gateway.Proxy = true })
	r := startRegistry(t, f, through(g))
	ann := enter(t, assigned(t, r, `{"client":"ann"}`).Primary.URL, "ann") // an edge that demands the header takes her
	ann.Raw(`{"ping":{}}`)
	if e := ann.Next(); e.Pong == nil {
		t.Errorf("%+v", e)
	}
	if _, status, err := fleet.ConnectURL(t, f.Nodes[0].URL(), nil, nil); err == nil {
		t.Errorf("the edge takes a client without the header: %d", status)
	}
}

func TestGatewayTellsAGatewayOfAnotherClusterTheClientsAddress(t *testing.T) {
	t.Parallel()
	trust := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.ProxyTrust = trust }))
	home := startGateway(t, f, func(c *gatewayserver.Config) {
		c.ProxyTrust, c.Gateway.Proxy, c.Gateway.AnswerTime = trust, true, 5*time.Second
	})
	r := startRegistry(t, f, through(home))
	// A gateway of another cluster, with which the client's connection begins.
	other := startGateway(t, f, func(c *gatewayserver.Config) {
		c.Gateway.Cluster, c.Gateway.Proxy, c.Gateway.AnswerTime = "b", true, 5*time.Second
		c.Gateway.Peers = map[contracts.ClusterName][]string{"a": {hostOf(t, home.URL())}}
	})
	_, query, _ := strings.Cut(assigned(t, r, `{"client":"ann"}`).Primary.URL, "?")
	ann := enter(t, other.URL()+"?"+query, "ann")
	ann.Raw(`{"ping":{}}`)
	if e := ann.Next(); e.Pong == nil {
		t.Errorf("%+v", e)
	}
	if _, status, err := fleet.ConnectURL(t, home.URL(), nil, nil); err == nil || status == 401 {
		t.Errorf("the gateway reads a client without the header: %d, %v", status, err)
	}
}

func hostOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
