package tests

import (
	"crypto/x509"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/registryserver"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// poolOf reads what a gateway holds edges against.
func poolOf(t *testing.T, cert string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(cert)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(b) {
		t.Fatal(err)
	}
	return pool
}

func TestEdgesWithCertificatesServeClientsBehindAGateway(t *testing.T) {
	t.Parallel()
	cert, key, _ := certify(t)
	strange, strangeKey, _ := certify(t)
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	f := fleet.New(t, 3, fleet.Configure(func(c *node.Config) {
		c.TLSCert, c.TLSKey, c.ProxyTrust = cert, key, local
		if c.Node == "a1" { // which nobody can trust
			c.TLSCert, c.TLSKey = strange, strangeKey
		}
	}))
	g := startGateway(t, f, func(c *gatewayserver.Config) {
		c.TCPListen, c.Gateway.AnswerTime, c.Gateway.Proxy, c.Gateway.EdgeRoots = "127.0.0.1:0", 5*time.Second, true, poolOf(t, cert)
		c.Gateway.Probe = 100 * time.Millisecond
	})
	r := startRegistry(t, f, through(g), withTCP(g), func(c *registryserver.Config) { c.Registry.Anonymous = true })
	tcp, toTCP := placed(t, r.URL(), "tcp", contracts.RawTCP)
	ws, toWS := placed(t, r.URL(), "ws", contracts.WebSocket)
	talks(t, tcp, ws, toTCP, toWS)
	on := map[contracts.NodeID]int{tcp.Ready().Node: 1, ws.Ready().Node: 1}
	for _, name := range []contracts.ClientID{"c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"} {
		c := enter(t, assigned(t, r, `{"client":"`+string(name)+`","key":"`+string(name)+`"}`).Primary.URL, name)
		on[c.Ready.Node]++
		if got := c.Send("tcp", `2`); got != "delivered" {
			t.Error(got)
		}
		expectFrom(t, toTCP, name, `2`)
	}
	if on["a1"] > 0 || on["a2"] == 0 || on["a3"] == 0 {
		t.Errorf("they are on %v", on)
	}
	fleet.Eventually(t, "the one that nobody can trust has failed", func() bool {
		return fleet.Metric(t, []string{g.AdminURL()}, "beeline_gateway_probe_failures_total") > 0
	})
	if n := f.Nodes[0].Value("beeline_edge_connections"); n != 0 {
		t.Errorf("%v connections to it", n)
	}
}
