package gateway

import (
	"fmt"
	"net"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
)

// Or the clients of one key would be on two instances, depending on where they came in.
func TestPeerThatPassesOverAHungInstanceIsWaitedFor(t *testing.T) {
	t.Parallel()
	fa, fb := &fleetFake{}, &fleetFake{}
	for i := range 3 {
		fa.echo(t, contracts.NodeID(fmt.Sprint("a", i)))
	}
	fb.echo(t, "b0")
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // the kernel accepts, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	order := byHash("room", fa.Instances())
	fa.change(order[0].Node, func(l *contracts.Load) { l.URL = "ws://" + ln.Addr().String() + "/v1/ws" })
	_, a, _ := serve(t, config(), fa)
	cb := config()
	cb.Cluster, cb.Peers = "b", map[contracts.ClusterName][]string{"a": {a}}
	_, b, _ := serve(t, cb, fb)
	if c := connect(t, b, secrets.Sign(ticket("a", "room"))); c.node != order[1].Node {
		t.Errorf("got %d %s %q, not %s", c.status, c.text, c.node, order[1].Node)
	}
}
