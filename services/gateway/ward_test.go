package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/beeline-rt/beeline/contracts"
)

// pipes is a network within a synctest bubble, where time stands still while somebody works.
type pipes struct {
	mu sync.Mutex
	m  map[string]*pipeEnd
}

type pipeEnd struct {
	address string
	come    chan net.Conn
	done    chan struct{}
	close   func()
}

func (e *pipeEnd) Accept() (net.Conn, error) {
	select {
	case conn := <-e.come:
		return conn, nil
	case <-e.done:
		return nil, net.ErrClosed
	}
}

func (e *pipeEnd) Close() error   { e.close(); return nil }
func (e *pipeEnd) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) listen(address string) *pipeEnd {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := make(chan struct{})
	e := &pipeEnd{address: address, come: make(chan net.Conn), done: done, close: sync.OnceFunc(func() { close(done) })}
	if p.m == nil {
		p.m = map[string]*pipeEnd{}
	}
	p.m[address] = e
	return e
}

var errRefused = errors.New("connection refused")

func (p *pipes) dial(ctx context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	e := p.m[address]
	p.mu.Unlock()
	if e == nil {
		return nil, errRefused
	}
	here, there := net.Pipe()
	select {
	case e.come <- there:
		return here, nil
	case <-e.done:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// mood is what an instance does now.
type mood int32

const (
	well    mood = iota
	hung         // it says nothing at all
	busy         // it says something to its clients each 100 ms, and does not answer
	slow         // it answers after 300 ms
	unready      // it says so
)

// subject is an instance within a bubble, whose mood can be changed.
type subject struct {
	node    contracts.NodeID
	mood    atomic.Int32
	asked   atomic.Int32
	changed chan struct{} // closed when the test ends
}

func (s *subject) becomes(m mood)    { s.mood.Store(int32(m)) }
func (s *subject) feels(m mood) bool { return mood(s.mood.Load()) == m }
func (s *subject) answers() bool     { return !s.feels(hung) && !s.feels(busy) }
func (s *subject) wait(d time.Duration) (goOn bool) {
	select {
	case <-time.After(d):
		return true
	case <-s.changed:
		return false
	}
}

func (s *subject) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == readyzPath {
		s.asked.Add(1)
		for !s.answers() && s.wait(10*time.Millisecond) {
		}
		if s.feels(slow) {
			s.wait(300 * time.Millisecond)
		}
		if s.feels(unready) {
			http.Error(w, "no", http.StatusServiceUnavailable)
		}
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	for s.feels(hung) && s.wait(10*time.Millisecond) {
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n%s\n", s.node)
	s.talk(conn)
}

// talk is how it serves a client.
func (s *subject) talk(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for s.wait(100 * time.Millisecond) {
		if s.feels(busy) {
			if _, err := conn.Write([]byte{'.'}); err != nil {
				return
			}
		}
	}
}

// takeTCP is how it serves one over raw TCP.
func (s *subject) takeTCP(conn net.Conn) {
	if _, err := readFrame(conn, 100); err == nil && s.answers() {
		_, _ = conn.Write(contracts.AppendFrame(nil, []byte(ponged)))
		_, _ = conn.Write([]byte(s.node + "\n"))
	}
	s.talk(conn)
}

// ward is a gateway in a bubble, and instances that it asks.
type ward struct {
	t     *testing.T
	net   pipes
	fleet fleetFake
	g     *Gateway
	still atomic.Int64 // for how long the gateway's loop stands still each time
	all   map[contracts.NodeID]*subject
}

// Instances is part of Fleet.
func (w *ward) Instances() []contracts.Instance {
	<-time.After(time.Duration(w.still.Load()))
	return w.fleet.Instances()
}

// inWard runs a test with a gateway before some instances, which it asks each probe.
func inWard(t *testing.T, instances int, change func(*Config), test func(w *ward)) {
	t.Helper()
	inWardOver(t, nil, instances, change, test)
}

// oneWard is held by the ward that runs: the more at once, the more often the race detector crashes (see race_test.go).
var oneWard sync.Mutex

// inWardOver is inWard with instances that want TLS, if secure is not nil.
func inWardOver(t *testing.T, secure *tls.Config, instances int, change func(*Config), test func(w *ward)) {
	t.Helper()
	oneWard.Lock()
	defer oneWard.Unlock()
	synctest.Test(t, func(t *testing.T) {
		w := &ward{t: t, all: map[contracts.NodeID]*subject{}}
		cfg := DefaultConfig()
		change(&cfg)
		var running sync.WaitGroup
		over := make(chan struct{})
		serve := func(name string, l net.Listener, h http.Handler) *http.Server {
			if cfg.Proxy && name != "gateway" {
				l = &proxyproto.Listener{Listener: l, ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return proxyproto.REQUIRE, nil }}
			}
			if secure != nil && name != "gateway" {
				l = tls.NewListener(l, secure)
			}
			s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
			running.Go(func() { _ = s.Serve(l) })
			return s
		}
		var servers []*http.Server
		for i := range instances {
			s := &subject{node: contracts.NodeID(fmt.Sprint("a", i)), changed: over}
			w.all[s.node] = s
			servers = append(servers, serve(string(s.node), w.net.listen(string(s.node)+":1"), s))
			raw := w.net.listen(string(s.node) + ":2")
			defer raw.close()
			running.Go(func() { acceptAll(raw, func(c net.Conn) { running.Go(func() { s.takeTCP(c) }) }) })
			w.fleet.add(s.node, string(s.node)+":1")
			w.fleet.change(s.node, func(l *contracts.Load) {
				l.TCP = "tcp://" + string(s.node) + ":2"
				if secure != nil {
					l.URL = "wss" + strings.TrimPrefix(l.URL, "ws")
				}
			})
		}
		w.g = New(cfg, Options{Tickets: secrets, Fleet: w, Order: byHash, Dial: w.net.dial})
		servers = append(servers, serve("gateway", w.net.listen("gateway"), w.g))
		tcp := w.net.listen("gateway-tcp")
		defer tcp.close()
		running.Go(func() { acceptAll(tcp, func(c net.Conn) { w.g.TakeTCP(t.Context(), c) }) })
		ctx, cancel := context.WithCancel(t.Context())
		running.Go(func() { w.g.Probe(ctx) })
		test(w)
		w.g.Drain(t.Context(), 0)
		cancel()
		close(over)
		tcp.close()
		for _, e := range w.net.m {
			e.close()
		}
		for _, s := range servers {
			_ = s.Close()
		}
		running.Wait()
	})
}

func acceptAll(l net.Listener, take func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		take(conn)
	}
}

// guest is a client: its connection's end is noted.
type guest struct {
	node contracts.NodeID
	end  chan struct{}
}

func (x *guest) ended() bool {
	select {
	case <-x.end:
		return true
	default:
		return false
	}
}

// enter connects a client, over raw TCP or WebSocket, and reads on until that ends.
func (w *ward) enter(raw bool) *guest {
	w.t.Helper()
	query := secrets.Sign(ticket("a", "room"))
	address, hello := "gateway", "GET /v1/ws?"+query+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
	if raw {
		address, hello = "gateway-tcp", string(contracts.AppendFrame(nil, []byte(showing(query))))
	}
	conn, err := w.net.dial(w.t.Context(), "tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, hello); err != nil {
		w.t.Fatal(err)
	}
	from := bufio.NewReader(conn)
	for !raw { // the head of the answer
		line, err := from.ReadString('\n')
		if err != nil {
			w.t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	name, err := from.ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	x := &guest{node: contracts.NodeID(strings.TrimSpace(name)), end: make(chan struct{})}
	go func() {
		defer close(x.end)
		defer func() { _ = conn.Close() }()
		_, _ = io.Copy(io.Discard, from)
	}()
	return x
}

// crowd is clients of one key, of both kinds, and the instance where they all are.
func (w *ward) crowd() (all []*guest, at *subject) {
	w.t.Helper()
	for i := range 20 {
		all = append(all, w.enter(i%2 == 0))
	}
	for _, x := range all {
		if x.node != all[0].node {
			w.t.Fatalf("clients of one key are on %s and %s", x.node, all[0].node)
		}
	}
	return all, w.all[all[0].node]
}

// lost counts the clients who were cut off.
func lost(all []*guest) (n int) {
	for _, x := range all {
		if x.ended() {
			n++
		}
	}
	return n
}
