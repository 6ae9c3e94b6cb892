package tests

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// rawTCP opens a connection to node i and leaves all to the test, after writing what is given.
func rawTCP(t *testing.T, f *fleet.Fleet, i int, first ...[]byte) *net.TCPConn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(f.Nodes[i].TCPURL(), "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * fleet.Patience))
	_, _ = c.Write(bytes.Join(first, nil))
	return c.(*net.TCPConn)
}

// framed is a frame with its length.
func framed(text string) []byte { return contracts.AppendFrame(nil, []byte(text)) }

func auth(name string) []byte { return framed(`{"auth":{"client":"` + name + `"}}`) }

// frame reads a frame, in which there must be some text.
func frame(t *testing.T, from io.Reader, text string) string {
	t.Helper()
	b, err := fleet.ReadFrame(from)
	if err != nil || !strings.Contains(string(b), text) {
		t.Fatalf("%q, %v; not %q", b, err, text)
	}
	return string(b)
}

// ended checks that nothing more comes.
func ended(t *testing.T, from io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
		t.Errorf("then %q, %v", rest, err)
	}
}

func TestTCPClientAndBrowserTalkAcrossNodes(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	tcp, ws := f.DialTCP(0, "tcp"), f.Dial(1, "ws")
	for range 3 {
		if got := tcp.Send("ws", `{"hi":1}`); got != "delivered" {
			t.Fatal(got)
		}
		ws.Expect("tcp", `{"hi":1}`)
		if got := ws.Send("tcp", `{"hi":2}`); got != "delivered" {
			t.Fatal(got)
		}
		tcp.Expect("ws", `{"hi":2}`)
	}
	tcp.Leave()
	if code := tcp.Closed(); code != 1000 && code != 1006 {
		t.Errorf("closed with %d", code)
	}
	fleet.Eventually(t, "it is offline", func() bool { return ws.Send("tcp", `3`) == "offline" })
}

func TestThousandFramesInOneWriteAreAThousandRequests(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	c := rawTCP(t, f, 0, auth("alice"))
	frame(t, c, `"ready"`)
	const n = 1000
	var all []byte
	for i := range n {
		all = append(all, framed(fmt.Sprintf(`{"id":%d,"ping":{}}`, i))...)
	}
	if _, err := c.Write(all); err != nil {
		t.Fatal(err)
	}
	answers, frames := 0, 0
	for answers < n {
		for line := range strings.SplitSeq(frame(t, c, "pong"), "\n") {
			if want := fmt.Sprintf(`{"id":%d,"pong":{}}`, answers); line != want {
				t.Fatalf("%s, not %s", line, want)
			}
			answers++
		}
		frames++
	}
	if frames > n/5 {
		t.Errorf("%d answers took %d frames: they are not gathered", n, frames)
	}
}

func TestOneFrameInAThousandWritesIsOneRequest(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	c := rawTCP(t, f, 0, auth("alice"))
	frame(t, c, `"ready"`)
	text := `{"id":1,"ping":{}` + strings.Repeat(" ", 1000-contracts.FrameHeader-18) + `}`
	for _, b := range framed(text) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if got := frame(t, c, "pong"); got != `{"id":1,"pong":{}}` {
		t.Error(got)
	}
}

func TestEveryLengthIsRightOrAClearError(t *testing.T) {
	t.Parallel()
	const most = 2048
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.Edge.MaxFrame = most }))
	c := rawTCP(t, f, 0, auth("alice"))
	frame(t, c, `"ready"`)
	_, _ = c.Write(bytes.Join([][]byte{framed(""), framed("\n\n"), framed(""), framed(`{"id":1,"ping":{}` + strings.Repeat(" ", most-18) + `}`)}, nil))
	frame(t, c, `{"id":1,"pong":{}}`) // nothing is said about empty frames, and the largest is taken
	for name, head := range map[string][]byte{
		"one too many": binary.BigEndian.AppendUint32(nil, most+1), "the sign bit": {0x80, 0, 0, 0}, "minus one": {0xff, 0xff, 0xff, 0xff},
		"HTTP": []byte("GET /v1/ws HTTP/1.1\r\n"), "TLS": {0x16, 3, 1, 2, 0}, "little-endian": {19, 0, 0, 0},
	} {
		for _, first := range [][]byte{nil, auth("bob")} {
			bad := rawTCP(t, f, 0, first, head, make([]byte, 100<<10)) // and goes on
			var said []string                                          // "ready" may be among it
			for {
				b, err := fleet.ReadFrame(bad)
				if errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				said = append(said, strings.Split(string(b), "\n")...)
			}
			all, last := strings.Join(said, "\n"), said[len(said)-1]
			if !strings.Contains(all, `"too_large"`) || !strings.Contains(all, "at most 2048") || !strings.HasPrefix(last, `{"close":{"code":1009,`) {
				t.Errorf("%s: %q", name, said)
			}
		}
	}
	alive(t, f)
}

func TestRefusedTCPClientsAreToldWhy(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) {
		c.Edge.MaxSessions, c.Edge.MaxAnonymous, c.Edge.AuthTimeout = 4, 2, time.Minute
	}))
	refused := func(says string, code contracts.CloseCode) {
		t.Helper()
		c := rawTCP(t, f, 0, auth("eve"))
		got := frame(t, c, says)
		if !strings.Contains(got, `"unavailable"`) || !strings.HasSuffix(got, fmt.Sprintf("\n"+`{"close":{"code":%d,"reason":%q}}`, code, says)) {
			t.Error(got)
		}
		ended(t, c)
	}
	first, second := f.ConnectTCP(0), f.ConnectTCP(0)
	fleet.Eventually(t, "both are there", func() bool { return f.Nodes[0].Value("beeline_edge_connections") == 2 })
	refused("too many connections without a log-in", contracts.CloseOverload)
	first.Close()
	second.Close()
	fleet.Eventually(t, "both are gone", func() bool { return f.Nodes[0].Value("beeline_edge_connections") == 0 })
	for i := range 4 {
		f.DialTCP(0, contracts.ClientID(fmt.Sprint("c", i)))
	}
	refused("this node is full", contracts.CloseOverload)
	if got := f.Nodes[0].Value("beeline_edge_connections_refused_total"); got != 2 {
		t.Errorf("%v refusals are counted", got)
	}
}

func TestStoppingNodeTellsItsTCPClientsToMove(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, fleet.Configure(func(c *node.Config) { c.DrainTime = 3 * time.Second }))
	c := f.DialTCP(0, "alice")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.Nodes[0].Stop(t)
	}()
	if e := c.Next(); e.Moving == nil {
		t.Fatalf("%+v", e)
	}
	late := rawTCP(t, f, 0, auth("late"))
	frame(t, late, `{"close":{"code":1012,`)
	if code := c.Closed(); code != int(contracts.CloseRestart) {
		t.Errorf("closed with %d", code)
	}
	<-stopped
}

func TestTCPBehindABalancerThatSaysWhoTheClientIs(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.ProxyTrust = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }))
	const n = 5000 // more than any buffer between
	all := [][]byte{[]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n"), auth("alice")}
	for i := range n {
		all = append(all, framed(fmt.Sprintf(`{"id":%d,"ping":{}}`, i)))
	}
	c := rawTCP(t, f, 0, all...)
	answers := 0
	for answers < n {
		answers += strings.Count(frame(t, c, "{"), `"pong"`)
	}
	bare := rawTCP(t, f, 0, auth("eve"))
	if got, err := fleet.ReadFrame(bare); err == nil {
		t.Errorf("without the header that the balancer puts there: %s", got)
	}
}

// throughTCP connects a client to a gateway over raw TCP, with the ticket of an address of the registry's.
func throughTCP(t *testing.T, g *gatewayserver.Server, address string) *fleet.Client {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c := fleet.ConnectTCP(t, g.TCPURL())
	c.Raw(string(contracts.AppendTicketFrame(nil, contracts.TicketFrame{Ticket: u.RawQuery})))
	return c
}

func TestTCPClientsGoThroughAGatewayToTheirRoom(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, fleet.Configure(func(c *node.Config) { c.ProxyTrust = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }))
	patient := func(c *gatewayserver.Config) {
		c.TCPListen, c.Gateway.Proxy, c.Gateway.AnswerTime = "127.0.0.1:0", true, 3*time.Second
	}
	g := startGateway(t, f, patient)
	behind := startGateway(t, f, patient, func(c *gatewayserver.Config) { // the foreign one says who the client is
		c.ProxyTrust = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	foreign := startGateway(t, f, patient, func(c *gatewayserver.Config) { // its cluster is empty: it passes on
		c.Gateway.Cluster = "b"
		c.Gateway.TCPPeers = map[contracts.ClusterName][]string{"a": {strings.TrimPrefix(behind.TCPURL(), "tcp://")}}
	})
	r := startRegistry(t, f, through(g))
	ticket := func(name string) string {
		return assigned(t, r, fmt.Sprintf(`{"client":%q,"key":"room"}`, name)).Primary.URL
	}
	alice, bob, carol := throughTCP(t, g, ticket("alice")), enter(t, ticket("bob"), "bob"), throughTCP(t, foreign, ticket("carol"))
	alice.Login("alice")
	carol.Login("carol")
	if alice.Ready.Node != bob.Ready.Node || carol.Ready.Node != bob.Ready.Node {
		t.Errorf("one room is on %s, %s and %s", alice.Ready.Node, bob.Ready.Node, carol.Ready.Node)
	}
	for _, from := range []*fleet.Client{alice, carol} {
		if got := from.Send("bob", `1`); got != "delivered" {
			t.Error(got)
		}
		bob.Expect(from.Name, `1`)
	}
	cert, key, trust := certify(t)
	secure := startGateway(t, f, patient, func(c *gatewayserver.Config) { c.TLSCert, c.TLSKey = cert, key })
	_, query, _ := strings.Cut(ticket("erin"), "?")
	erin, _ := library(t, secure.TCPURL()+"?"+query, "erin", trust)
	if got, err := erin.Send(t.Context(), "bob", []byte(`2`)); err != nil || got.Status != contracts.Delivered || erin.Ready().Node != bob.Ready.Node {
		t.Errorf("by TLS: %+v, %v, on %s", got, err, erin.Ready().Node)
	}
	bob.Expect("erin", `2`)
	used := ticket("dave")
	throughTCP(t, g, used).Login("dave")
	for name, c := range map[string]*fleet.Client{"used": throughTCP(t, g, used), "forged": throughTCP(t, foreign, used+"x")} {
		e := c.Next()
		if code := c.Closed(); e.Error == nil || code != int(contracts.CloseUnauthorized) && code != int(contracts.ClosePolicy) {
			t.Errorf("%s: %+v, closed with %d", name, e, code)
		}
	}
	alice.Raw("\xff") // close codes pass
	if code := alice.Closed(); code != int(contracts.CloseInvalidData) {
		t.Errorf("closed with %d", code)
	}
}

func TestTCPClientThatClosesRightAfterAFaultHearsWhy(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	for range 50 { // the end of its bytes races with the close
		c := rawTCP(t, f, 0, auth("alice"), framed("\xff"))
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(c)
		if err != nil || !bytes.Contains(all, []byte(`{"close":{"code":1007,`)) {
			t.Fatalf("%q, %v", all, err)
		}
	}
}
