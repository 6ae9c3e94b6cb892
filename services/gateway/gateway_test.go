package gateway

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/contracts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secrets = func() contracts.TicketSecrets {
	s, err := contracts.ParseTicketSecrets(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		panic(err)
	}
	return s
}()

func ticket(cluster contracts.ClusterName, key contracts.PlacementKey) contracts.Ticket {
	return contracts.Ticket{
		Cluster: cluster, Key: key, Client: "ann", Expires: time.Now().Add(contracts.TicketLife), Nonce: contracts.NewTicketNonce(),
	}
}

// byHash is an order that depends on the key and the nodes alone.
func byHash(key contracts.PlacementKey, all []contracts.Instance) []contracts.Instance {
	score := func(i contracts.Instance) uint64 {
		h := fnv.New64a()
		fmt.Fprint(h, key, i.Node)
		return h.Sum64()
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b contracts.Instance) int { return cmp.Compare(score(b), score(a)) })
	return all
}

// fleetFake is instances, each a server that says its name and then echoes.
type fleetFake struct {
	mu  sync.Mutex
	all []contracts.Instance
}

func (f *fleetFake) Instances() []contracts.Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

func (f *fleetFake) change(n contracts.NodeID, change func(*contracts.Load)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.all {
		if f.all[i].Node == n {
			change(&f.all[i].Load)
		}
	}
}

func (f *fleetFake) add(n contracts.NodeID, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, contracts.Instance{Peer: contracts.Peer{Node: n, Epoch: 1}, Load: contracts.Load{
		Capacity: 1000, State: contracts.NodeReady, Weight: 1, URL: "ws://" + address + "/v1/ws",
	}})
}

// echo starts an instance that answers upgrades, says its name, and echoes until its client has ended.
func (f *fleetFake) echo(t *testing.T, n contracts.NodeID) *httptest.Server {
	t.Helper()
	var all sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		all.Go(func() {
			defer func() { _ = conn.Close() }()
			fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n%s\n", n)
			_, _ = io.Copy(conn, rw)
		})
	}))
	t.Cleanup(func() { s.Close(); all.Wait() })
	f.add(n, s.Listener.Addr().String())
	return s
}

// dials counts connections to each address.
type dials struct {
	mu sync.Mutex
	n  map[string]int
}

func (d *dials) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	if d.n == nil {
		d.n = map[string]int{}
	}
	d.n[address]++
	d.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (d *dials) count() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.n {
		n += k
	}
	return n
}

// serve starts a gateway.
func serve(t *testing.T, cfg Config, f Fleet) (g *Gateway, address string, d *dials) {
	t.Helper()
	d = &dials{}
	g = New(cfg, Options{Tickets: secrets, Fleet: f, Order: byHash, Dial: d.dial})
	return g, serveHTTP(t, g), d
}

func serveHTTP(t *testing.T, g *Gateway) (address string) {
	t.Helper()
	s := httptest.NewServer(g)
	t.Cleanup(func() {
		g.Drain(context.WithoutCancel(t.Context()), 0)
		s.Close()
	})
	return s.Listener.Addr().String()
}

// client is a connection through a gateway.
type client struct {
	net.Conn
	from   *bufio.Reader
	status int
	text   string
	node   contracts.NodeID // which said its name
}

func connect(t *testing.T, address, query string) *client {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "GET /v1/ws?%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n\r\n", query)
	c := &client{Conn: conn, from: bufio.NewReader(conn)}
	resp, err := http.ReadResponse(c.from, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.status = resp.StatusCode
	defer func() { _ = resp.Body.Close() }()
	if c.status != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(resp.Body)
		c.text = strings.TrimSpace(string(text))
		return c
	}
	line, err := c.from.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c.node = contracts.NodeID(strings.TrimSpace(line))
	return c
}

func config() Config {
	c := DefaultConfig()
	c.AnswerTime = time.Second // the default is for machines that do nothing else
	return c
}

func TestBytesPassUntouchedBothWaysAndSoDoesTheEnd(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.echo(t, "a1")
	_, address, _ := serve(t, config(), f)
	c := connect(t, address, secrets.Sign(ticket("a", "room")))
	if c.node != "a1" {
		t.Fatalf("%d %s %q", c.status, c.text, c.node)
	}
	data := make([]byte, 5<<20)
	_, _ = rand.Read(data)
	go func() {
		_, _ = c.Write(data)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c.from) // until the instance ends, too
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d of %d bytes came back, the same: %v, %v", len(got), len(data), bytes.Equal(got, data), err)
	}
}

func TestClientsOfOneKeyAreOnOneInstance(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	for i := range 4 {
		f.echo(t, contracts.NodeID(fmt.Sprint("a", i)))
	}
	_, one, _ := serve(t, config(), f)
	_, two, _ := serve(t, config(), f)
	nodes := map[contracts.NodeID]bool{}
	for k := range 20 {
		key := contracts.PlacementKey(fmt.Sprint("room", k))
		first := connect(t, one, secrets.Sign(ticket("a", key))).node
		nodes[first] = true
		for range 5 {
			if got := connect(t, two, secrets.Sign(ticket("a", key))).node; got != first {
				t.Errorf("%s is on %s and on %s", key, first, got)
			}
		}
	}
	if len(nodes) != 4 {
		t.Errorf("20 keys are on %d of 4 instances", len(nodes))
	}
}

func TestUnfitInstanceIsReplacedByItsAlternateAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		harm func(t *testing.T, f *fleetFake, first contracts.NodeID)
	}{
		{"not ready", func(_ *testing.T, f *fleetFake, n contracts.NodeID) {
			f.change(n, func(l *contracts.Load) { l.State = contracts.NodeUnready })
		}},
		{"draining", func(_ *testing.T, f *fleetFake, n contracts.NodeID) {
			f.change(n, func(l *contracts.Load) { l.State = contracts.NodeDraining })
		}},
		{"full", func(_ *testing.T, f *fleetFake, n contracts.NodeID) {
			f.change(n, func(l *contracts.Load) { l.Users = l.Capacity })
		}},
		{"killed", func(t *testing.T, f *fleetFake, n contracts.NodeID) {
			t.Helper()
			ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
			if err != nil {
				t.Fatal(err)
			}
			_ = ln.Close()
			f.change(n, func(l *contracts.Load) { l.URL = "ws://" + ln.Addr().String() + "/v1/ws" })
		}},
		{"hung", func(t *testing.T, f *fleetFake, n contracts.NodeID) {
			t.Helper()
			ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // the kernel accepts, and nobody answers
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ln.Close() })
			f.change(n, func(l *contracts.Load) { l.URL = "ws://" + ln.Addr().String() + "/v1/ws" })
		}},
		{"busy", func(t *testing.T, f *fleetFake, n contracts.NodeID) {
			t.Helper()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "full", http.StatusServiceUnavailable)
			}))
			t.Cleanup(s.Close)
			f.change(n, func(l *contracts.Load) { l.URL = "ws://" + s.Listener.Addr().String() + "/v1/ws" })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := &fleetFake{}
			for i := range 3 {
				f.echo(t, contracts.NodeID(fmt.Sprint("a", i)))
			}
			order := byHash("room", f.Instances())
			test.harm(t, f, order[0].Node)
			_, address, _ := serve(t, config(), f)
			start := time.Now()
			c := connect(t, address, secrets.Sign(ticket("a", "room")))
			if c.node != order[1].Node {
				t.Fatalf("got %d %s %q, not %s", c.status, c.text, c.node, order[1].Node)
			}
			t.Logf("after %v", time.Since(start))
			start = time.Now() // the next need not find out
			connect(t, address, secrets.Sign(ticket("a", "room")))
			if took := time.Since(start); took > config().AnswerTime {
				t.Errorf("the second client took %v", took)
			}
		})
	}
}

func TestBadTicketsAreRefusedWithoutADial(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.echo(t, "a1")
	_, address, d := serve(t, config(), f)
	foreign, err := contracts.ParseTicketSecrets(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{8}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	expired := ticket("a", "room")
	expired.Expires = time.Now().Add(-time.Second)
	good := secrets.Sign(ticket("a", "room"))
	for name, test := range map[string]struct {
		query  string
		status int
	}{
		"none":        {"", http.StatusBadRequest},
		"garbage":     {"a=b", http.StatusBadRequest},
		"a host":      {good + "&h=10.0.0.1:80", http.StatusBadRequest},
		"twice":       {good + "&k=other", http.StatusBadRequest},
		"encoded":     {strings.Replace(good, "k=room", "k=%72oom", 1), http.StatusBadRequest},
		"smuggled":    {strings.Replace(good, "k=room", "k=room%0d%0aHost:%20evil", 1), http.StatusBadRequest},
		"oversize":    {strings.Repeat("k=a&", 5000), http.StatusBadRequest},
		"forged":      {foreign.Sign(ticket("a", "room")), http.StatusUnauthorized},
		"changed key": {strings.Replace(good, "k=room", "k=roon", 1), http.StatusUnauthorized},
		"expired":     {secrets.Sign(expired), http.StatusUnauthorized},
	} {
		if c := connect(t, address, test.query); c.status != test.status || strings.Contains(c.text, "room") {
			t.Errorf("%s: %d %s", name, c.status, c.text)
		}
	}
	if n := d.count(); n != 0 {
		t.Errorf("%d dials", n)
	}
	if c := connect(t, address, good); c.node != "a1" {
		t.Fatalf("the good one: %d %s", c.status, c.text)
	}
	if c := connect(t, address, good); c.status != http.StatusUnauthorized {
		t.Errorf("the second use of a ticket: %d", c.status)
	}
	if n := d.count(); n != 1 {
		t.Errorf("%d dials for one client", n)
	}
}

func TestTicketThatReachedNobodyCanBeUsedAgain(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	_, address, _ := serve(t, config(), f)
	query := secrets.Sign(ticket("a", "room"))
	if c := connect(t, address, query); c.status != http.StatusServiceUnavailable {
		t.Fatalf("without instances: %d %s", c.status, c.text)
	}
	f.echo(t, "a1")
	if c := connect(t, address, query); c.node != "a1" {
		t.Errorf("%d %s", c.status, c.text)
	}
}

func TestClientOfAnotherClusterIsPassedOnOrServedHere(t *testing.T) {
	t.Parallel()
	fa, fb := &fleetFake{}, &fleetFake{}
	fa.echo(t, "a1")
	fb.echo(t, "b1")
	cb := config()
	cb.Cluster = "b"
	_, b, _ := serve(t, cb, fb)
	ca := config()
	ca.Peers = map[contracts.ClusterName][]string{"b": {b}}
	_, a, _ := serve(t, ca, fa)
	query := secrets.Sign(ticket("b", "room"))
	if c := connect(t, a, query); c.node != "b1" {
		t.Fatalf("%d %s %q", c.status, c.text, c.node)
	}
	if c := connect(t, b, query); c.status != http.StatusUnauthorized {
		t.Errorf("the ticket was used there, and is good again: %d", c.status)
	}
	ca.Peers = map[contracts.ClusterName][]string{"b": {"127.0.0.1:1"}} // is down
	_, alone, _ := serve(t, ca, fa)
	if c := connect(t, alone, secrets.Sign(ticket("b", "room"))); c.node != "a1" {
		t.Errorf("%d %s %q", c.status, c.text, c.node)
	}
	// Two that name each other for a cluster that is neither's do not play ball: the one that was asked first serves.
	cc := config()
	_, self, _ := serve(t, cc, fa)
	cc.Peers = map[contracts.ClusterName][]string{"c": {self}}
	_, wrong, _ := serve(t, cc, fa)
	cc.Peers = map[contracts.ClusterName][]string{"c": {wrong}}
	_, loop, _ := serve(t, cc, fa)
	if c := connect(t, loop, secrets.Sign(ticket("c", "room"))); c.node != "a1" {
		t.Errorf("%d %s %q", c.status, c.text, c.node)
	}
}

func TestSideThatTakesNothingIsCutOff(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.echo(t, "a1")
	cfg := config()
	cfg.StallTime = 300 * time.Millisecond
	g, address, _ := serve(t, cfg, f)
	c := connect(t, address, secrets.Sign(ticket("a", "room")))
	big := make([]byte, 1<<20)
	var err error
	for range 200 { // it reads nothing of what comes back
		if _, err = c.Write(big); err != nil {
			break
		}
	}
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("200 MiB went in and nothing came out: %v", err)
	}
	gone(t, g)
}

func TestFailedInstanceComesBackSlowly(t *testing.T) {
	t.Parallel()
	var o outliers
	p, now := contracts.Peer{Node: "a1", Epoch: 1}, time.Now()
	passes := func(at time.Time) (n int) {
		for range 1000 {
			if o.passes(p, at) {
				n++
			}
		}
		return n
	}
	o.failed(p, now)
	if n := passes(now.Add(firstEjection - 1)); n != 1000 {
		t.Errorf("right after: passed over %d of 1000 times", n)
	}
	if n := passes(now.Add(firstEjection + slowReturn/2)); n < 400 || n > 600 {
		t.Errorf("half way back: %d of 1000", n)
	}
	if n := passes(now.Add(firstEjection + slowReturn)); n != 0 {
		t.Errorf("back: %d of 1000", n)
	}
	for range 100 {
		now = now.Add(lastEjection)
		o.failed(p, now)
	}
	if !o.passes(p, now.Add(lastEjection-1)) || o.passes(p, now.Add(lastEjection+slowReturn)) {
		t.Error("after many failures it is not passed over for the longest time")
	}
	o.served(p, now.Add(lastEjection+slowReturn))
	o.failed(p, now)
	if n := passes(now.Add(firstEjection + slowReturn)); n != 0 {
		t.Error("what was served is not forgiven")
	}
}

func TestNonceIsGoodOnceAsLongAsItsTicketLives(t *testing.T) {
	t.Parallel()
	n := nonces{most: maxNonces}
	now := time.Now()
	nonce := contracts.NewTicketNonce()
	if fresh, room := n.take(nonce, now); !fresh || !room {
		t.Fatal("a new one is refused")
	}
	for d := time.Duration(0); d <= nonceLife; d += nonceLife / 10 {
		n.take(contracts.NewTicketNonce(), now.Add(d))
		if fresh, _ := n.take(nonce, now.Add(d)); fresh {
			t.Fatalf("it is good again after %v", d)
		}
	}
	for range 3 {
		now = now.Add(nonceLife)
		n.take(contracts.NewTicketNonce(), now)
	}
	if len(n.old)+len(n.now) > 3 {
		t.Errorf("%d are remembered", len(n.old)+len(n.now))
	}
}
