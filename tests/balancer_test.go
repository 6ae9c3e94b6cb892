package tests

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// startHAProxy puts a real HAProxy in TCP mode, with the PROXY protocol, in front of edges.
func startHAProxy(t *testing.T, edges []string) string {
	t.Helper()
	bin, err := exec.LookPath("haproxy")
	if err != nil {
		bin = "/usr/sbin/haproxy" // where Debian puts it, and users' PATH does not look
	}
	port := fleet.FreePort(t)
	var conf strings.Builder
	fmt.Fprintf(&conf, "global\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n"+
		"frontend clients\n  bind 127.0.0.1:%d\n  default_backend edges\nbackend edges\n  balance roundrobin\n", port)
	for i, e := range edges {
		u, err := url.Parse(e)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&conf, "  server a%d %s send-proxy-v2 check inter 200ms\n", i+1, u.Host)
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	fleet.Run(t, bin, "-db", "-f", path)
	return fmt.Sprintf("ws://127.0.0.1:%d%s", port, node.ClientPath)
}

func TestClientsBehindABalancerTalkWithoutStickiness(t *testing.T) {
	t.Parallel()
	edges := fleet.RunEdges(t, 3, "--proxy-trust", "127.0.0.1")
	through := startHAProxy(t, edges.URLs)
	var clients []*fleet.Client
	nodes := map[contracts.NodeID]int{}
	for i := range 9 {
		var c *fleet.Client
		fleet.Eventually(t, "the balancer takes connections", func() bool {
			var err error
			c, _, err = fleet.ConnectURL(t, through, nil, nil)
			return err == nil
		})
		c.Login(contracts.ClientID(fmt.Sprint("client-", i)))
		nodes[c.Ready.Node]++
		clients = append(clients, c)
	}
	if len(nodes) != 3 {
		t.Fatalf("the clients are on %v, not on three nodes", nodes)
	}
	for i, from := range clients {
		for j, to := range clients {
			data := fmt.Sprintf(`"%d to %d"`, i, j)
			if i == j {
				continue
			}
			if got := from.Send(to.Name, data); got != "delivered" {
				t.Fatalf("%d to %d: %s", i, j, got)
			}
			to.Expect(from.Name, data)
		}
	}
	// Without the header that the balancer puts there, a trusted peer is refused: its clients could forge one.
	if _, _, err := fleet.ConnectURL(t, edges.URLs[0], nil, nil); err == nil {
		t.Error("a connection without a PROXY header was taken")
	}
}
