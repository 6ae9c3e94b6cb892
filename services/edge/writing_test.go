package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
)

// What these tests hold is about writing: to real sockets, because it is about what the kernel takes, or to connections
// that take a while.

// byToken takes a token for a name.
type byToken struct{}

func (byToken) Token(s string) (Identity, error) {
	return Identity{Client: contracts.ClientID(s), Send: everything{}, Groups: everything{}, Watch: everything{}}, nil
}
func (b byToken) Name(c contracts.ClientID) (Identity, error) { return b.Token(string(c)) }

// listening is an edge that clients can connect to.
func listening(tb testing.TB, courier Courier, change func(*Config)) (*Edge, *httptest.Server) {
	tb.Helper()
	cfg := DefaultConfig()
	cfg.MessageRate, cfg.ByteRate = 0, 0
	if change != nil {
		change(&cfg)
	}
	d := &directoryFake{restored: make(chan struct{}, 1), records: map[contracts.Address]map[contracts.SessionID]contracts.Entry{}}
	e := New(cfg, Options{Cluster: "a", Node: "a1", Epoch: 1, Directory: d, Auth: byToken{}, Blip: time.Second})
	e.Start(tb.Context(), courier)
	srv := httptest.NewServer(e.Handler())
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), 3*time.Second)
		defer cancel()
		e.Close(ctx)
		srv.Close()
	})
	return e, srv
}

// dial connects, by name if there is one, with a receive buffer of that size.
func dial(tb testing.TB, srv *httptest.Server, name string, buffer int) *websocket.Conn {
	tb.Helper()
	h := http.Header{}
	if name != "" {
		h.Set("Authorization", "Bearer "+name)
	}
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil && buffer > 0 {
			_ = c.(*net.TCPConn).SetReadBuffer(buffer)
		}
		return c, err
	}}
	c, resp, err := d.DialContext(tb.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), h)
	if err != nil {
		tb.Fatal(err)
	}
	_ = resp.Body.Close()
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func expectReady(tb testing.TB, c *websocket.Conn) {
	tb.Helper()
	if _, b, err := c.ReadMessage(); err != nil || !strings.Contains(string(b), "ready") {
		tb.Error(string(b), err)
	}
}

// spinningConnection takes a while for each write, and tells.
type spinningConnection struct {
	connectionFake
	cost  time.Duration
	wrote func()
	ready chan struct{} // closed by the first write
	first sync.Once
}

func (c *spinningConnection) Write([]byte) bool {
	for end := time.Now().Add(c.cost); time.Now().Before(end); {
	}
	if c.wrote != nil {
		c.wrote()
	}
	c.first.Do(func() { close(c.ready) })
	return true
}

// spinning logs a client in over such a connection, and returns when its ready has been written: a message that came
// before would share that write.
func spinning(e *Edge, name contracts.ClientID, cost time.Duration, wrote func()) *Session {
	e.open.Add(1)
	e.strange.Add(1)
	c := &spinningConnection{cost: cost, wrote: wrote, ready: make(chan struct{})}
	s := newSession(e, c)
	s.login(Identity{Client: name, Send: everything{}, Groups: everything{}}, "")
	<-c.ready
	return s
}

var one = contracts.EncodeMsg("alice", []byte(`1`))

func deliverTo(e *Edge, c contracts.ClientID) {
	e.Begin() // as a bundle from another node
	e.deliver(c.Address(), one, ignored{}, 0)
	e.End()
}

func TestClientOnALineThatIsFullIsPingedAndNotCut(t *testing.T) {
	t.Parallel()
	const heartbeat = 4 * time.Second
	e, srv := listening(t, &readyCourier{}, func(c *Config) { c.Heartbeat = heartbeat })
	c := dial(t, srv, "busy", 64<<10)
	expectReady(t, c)
	var pings atomic.Int32
	pong := c.PingHandler()
	c.SetPingHandler(func(s string) error { pings.Add(1); return pong(s) })
	s := e.roster.of("busy")[0]
	over := time.Now().Add(2*heartbeat + heartbeat/2)
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		frame := contracts.EncodeMsg("alice", []byte(`"`+strings.Repeat("x", 30_000)+`"`))
		for time.Now().Before(over) && len(e.roster.of("busy")) > 0 {
			s.mu.Lock()
			queued := s.queue.bytes
			s.mu.Unlock()
			if queued < 100_000 {
				e.deliver(contracts.ClientID("busy").Address(), frame, ignored{}, 0)
			} else {
				<-time.After(200 * time.Microsecond)
			}
		}
	})
	for time.Now().Before(over) {
		if _, _, err := c.ReadMessage(); err != nil {
			t.Fatalf("cut, after %d pings: %v", pings.Load(), err)
		}
		<-time.After(500 * time.Microsecond) // so that the line stays full
	}
	if pings.Load() == 0 {
		t.Error("no ping in two heartbeats")
	}
}

func TestLateLoginIsNotCutBeforeItsFirstPing(t *testing.T) {
	t.Parallel()
	const heartbeat = 3 * time.Second
	_, srv := listening(t, &readyCourier{}, func(c *Config) { c.Heartbeat = heartbeat })
	var clients sync.WaitGroup
	for i := range 20 {
		c := dial(t, srv, "", 0)
		clients.Go(func() {
			<-time.After(heartbeat * 6 / 10) // its first turn in beat may be after it would be cut
			_ = c.WriteMessage(websocket.TextMessage, contracts.AppendAuth(nil, contracts.Auth{Client: contracts.ClientID(fmt.Sprint("c", i))}))
			expectReady(t, c)
			_ = c.SetReadDeadline(time.Now().Add(2 * heartbeat))
			var timeout net.Error
			if _, _, err := c.ReadMessage(); !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("a client that answers pings was cut: %v", err)
			}
		})
	}
	clients.Wait()
}

func TestStreamToOneSessionDoesNotHoldUpAnother(t *testing.T) {
	t.Parallel()
	e, _ := listening(t, &readyCourier{}, nil)
	got := make(chan struct{}, 16)
	spinning(e, "cold", 0, func() { got <- struct{}{} })
	<-got // ready
	const most = 20_000
	var writes atomic.Int64
	begun := make(chan struct{})
	spinning(e, "hot", 10*time.Microsecond, func() { // during each write, the next message comes in
		if n := writes.Add(1); n > 1 && n < most {
			e.deliver(contracts.ClientID("hot").Address(), one, ignored{}, 0)
			if n == 100 {
				close(begun)
			}
		}
	})
	go deliverTo(e, "hot")
	<-begun
	before := writes.Load()
	deliverTo(e, "cold")
	<-got
	if waited := writes.Load() - before; waited > most/2 {
		t.Errorf("the other session's message was written after %d writes to the first", waited)
	}
	for writes.Load() < most {
		<-time.After(time.Millisecond)
	}
}

func TestFanOutDoesNotHoldUpADirectMessage(t *testing.T) {
	t.Parallel()
	e, _ := listening(t, &readyCourier{}, nil)
	got := make(chan struct{}, 16)
	spinning(e, "cold", 0, func() { got <- struct{}{} })
	<-got
	const members = 2000
	var writes, joined atomic.Int64
	for i := range members {
		s := spinning(e, contracts.ClientID(fmt.Sprint("m", i)), 10*time.Microsecond, func() { writes.Add(1) })
		e.groups.join("g", s, func() { joined.Add(1) })
	}
	for joined.Load() < members || writes.Load() < members { // each has got its ready
		<-time.After(time.Millisecond)
	}
	writes.Store(0)
	go func() {
		e.Begin()
		e.groups.deliver("g", one)
		e.End()
	}()
	for writes.Load() < 100 {
		<-time.After(50 * time.Microsecond)
	}
	before := writes.Load()
	deliverTo(e, "cold")
	<-got
	if waited := writes.Load() - before; waited > members*3/4 {
		t.Errorf("it was written after %d writes to members of the group", waited)
	}
	for writes.Load() < members {
		<-time.After(time.Millisecond)
	}
}

// stuckCourier blocks once at the end of a burst, as a publish over a connection that stalls.
type stuckCourier struct {
	readyCourier
	stuck  atomic.Bool
	loosen chan struct{}
}

func (c *stuckCourier) End() {
	if c.stuck.CompareAndSwap(true, false) {
		<-c.loosen
	}
}

func TestStuckPublishDoesNotHoldUpLocalWrites(t *testing.T) {
	t.Parallel()
	c := &stuckCourier{loosen: make(chan struct{})}
	e, _ := listening(t, c, nil)
	got := make(chan struct{}, 16)
	spinning(e, "a", 0, nil)
	spinning(e, "b", 0, func() { got <- struct{}{} })
	<-got
	c.stuck.Store(true)
	go deliverTo(e, "a")
	for c.stuck.Load() {
		<-time.After(time.Millisecond)
	}
	deliverTo(e, "b")
	select {
	case <-got:
	case <-time.After(5 * time.Second):
		t.Error("a message was not written while a publish for another waits")
	}
	close(c.loosen)
}

func TestFaultLeavesNoBurstOpen(t *testing.T) {
	t.Parallel()
	e, _ := listening(t, &readyCourier{}, nil)
	got := make(chan struct{}, 16)
	spinning(e, "b", 0, func() { got <- struct{}{} })
	<-got
	var faulty atomic.Bool
	spinning(e, "faulty", 0, func() {
		if faulty.Load() {
			panic("fault")
		}
	})
	faulty.Store(true)
	deliverTo(e, "faulty")
	func() {
		defer func() { _ = recover() }()
		e.burst(func() { panic("fault") })
	}()
	e.deliver(contracts.ClientID("b").Address(), one, ignored{}, 0)
	select {
	case <-got:
	case <-time.After(5 * time.Second):
		t.Error("after a fault nothing is written any more")
	}
}

func TestCloseThatWasSentIsNoProtocolError(t *testing.T) {
	t.Parallel()
	if code := closeCodeOf(websocket.ErrCloseSent); code != 0 {
		t.Errorf("code %d", code)
	}
	if code := closeCodeOf(websocket.ErrReadLimit); code != websocket.CloseMessageTooBig {
		t.Errorf("code %d", code)
	}
}
