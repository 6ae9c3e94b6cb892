package tests

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/registry"
	"github.com/beeline-rt/beeline/services/registryserver"
	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/client"
)

// placed connects the Go client to where a registry says, in a room, and returns what it gets.
func placed(t *testing.T, url string, name contracts.ClientID, over contracts.Transport) (*client.Client, chan client.Message) {
	t.Helper()
	got := make(chan client.Message, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), fleet.Patience)
	defer cancel()
	c, err := client.Dial(ctx, "", client.Options{
		Registry: &client.Registry{URLs: []string{url}, Key: "room", Transport: over},
		Client:   name, Handler: func(m client.Message) { got <- m }, KeepTrying: true,
		Backoff: client.Backoff{First: 50 * time.Millisecond, Base: 10 * time.Millisecond, Cap: 100 * time.Millisecond},
	})
	if err != nil {
		t.Fatalf("%s, over %q: %v", name, over, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, got
}

// talks has two clients send each other something.
func talks(t *testing.T, one, other *client.Client, toOne, toOther chan client.Message) {
	t.Helper()
	send := func(from, to *client.Client, got chan client.Message) {
		t.Helper()
		var result client.Result
		var err error
		fleet.Eventually(t, "it is delivered", func() bool { // soon, when somebody has just moved
			result, err = from.Send(t.Context(), to.Ready().Client, []byte(`1`))
			return err == nil && result.Status == contracts.Delivered
		})
		expectFrom(t, got, from.Ready().Client, `1`)
	}
	send(one, other, toOther)
	send(other, one, toOne)
}

// withTCP also has the registry send clients to where gateways take raw TCP.
func withTCP(gateways ...*gatewayserver.Server) func(*registryserver.Config) {
	return func(c *registryserver.Config) {
		for _, g := range gateways {
			c.Registry.Gateways = append(c.Registry.Gateways, registry.Gateway{Cluster: "a", URL: g.TCPURL()})
		}
	}
}

func TestTCPClientThroughRegistryAndGatewayTalksWithABrowser(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3)
	g := startGateway(t, f, func(c *gatewayserver.Config) { c.TCPListen, c.Gateway.AnswerTime = "127.0.0.1:0", 3*time.Second })
	r := startRegistry(t, f, through(g), withTCP(g), func(c *registryserver.Config) { c.Registry.Anonymous = true })
	tcp, toTCP := placed(t, r.URL(), "tcp", contracts.RawTCP)
	ws, toWS := placed(t, r.URL(), "ws", "")
	if tcp.Ready().Node != ws.Ready().Node {
		t.Errorf("one room is on %s and on %s", tcp.Ready().Node, ws.Ready().Node)
	}
	talks(t, tcp, ws, toTCP, toWS)
}

func TestNodeWithoutTCPIsPassedOverForTCPClientsAlone(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, fleet.Configure(func(c *node.Config) {
		if c.Node != "a3" {
			c.TCPListen = ""
		}
	}))
	g := startGateway(t, f, func(c *gatewayserver.Config) { c.TCPListen, c.Gateway.AnswerTime = "127.0.0.1:0", 3*time.Second })
	anybody := func(c *registryserver.Config) { c.Registry.Anonymous = true }
	for name, r := range map[string]*registryserver.Server{"direct": startRegistry(t, f, anybody), "gateway": startRegistry(t, f, through(g), withTCP(g), anybody)} {
		on := map[contracts.NodeID]int{}
		for i := range 4 {
			c := contracts.ClientID(fmt.Sprint(name, i))
			tcp, toTCP := placed(t, r.URL(), c, contracts.RawTCP)
			on[tcp.Ready().Node]++
			ws := enter(t, assigned(t, r, fmt.Sprintf(`{"client":"ws-%s","key":"room-%d"}`, c, i)).Primary.URL, "ws-"+c)
			if got := ws.Send(c, `1`); got != "delivered" {
				t.Error(got)
			}
			expectFrom(t, toTCP, "ws-"+c, `1`)
		}
		if on["a3"] != 4 {
			t.Errorf("%s: they are on %v", name, on)
		}
	}
}

func TestTCPClientsArePlacedAnewWhenTheirEdgeIsKilled(t *testing.T) {
	t.Parallel()
	gateway := fmt.Sprint("127.0.0.1:", fleet.FreePort(t))
	c := fleet.RunClusters(t, fleet.Plan{
		Edges: 3, EdgeFlags: []string{"--tcp-listen", "127.0.0.1:0"},
		GatewayFlags: []string{"--tcp-listen", gateway, "--answer-time", "3s"}, RegistryFlags: []string{"--gateway", "a=tcp://" + gateway},
	}, "a")[0]
	direct := c.RunDirectRegistry()
	fleet.Eventually(t, "the direct registry knows them", func() bool {
		return fleet.Metric(t, []string{direct.Admin}, "beeline_registry_instances_fit") == 3
	})
	past, toPast := placed(t, direct.URL, "past", contracts.RawTCP)
	behind, toBehind := placed(t, c.Registry.URL, "behind", contracts.RawTCP)
	home := past.Ready().Node
	if behind.Ready().Node != home {
		t.Fatalf("one room is on %s and on %s", home, behind.Ready().Node)
	}
	talks(t, past, behind, toPast, toBehind)
	c.Edge(home).Kill()
	for _, x := range []*client.Client{past, behind} {
		fleet.Eventually(t, "it is elsewhere", func() bool { return x.State() == client.Online && x.Ready().Node != home })
	}
	talks(t, past, behind, toPast, toBehind)
}
