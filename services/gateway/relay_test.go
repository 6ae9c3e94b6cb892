package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// instance starts one that answers an upgrade, and then does what it is told to.
func (f *fleetFake) instance(t *testing.T, then func(conn net.Conn)) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\na1\n")
		then(conn)
	}))
	t.Cleanup(s.Close)
	f.add("a1", s.Listener.Addr().String())
}

// gone waits until nobody is proxied.
func gone(t *testing.T, g *Gateway) {
	t.Helper()
	for end := time.After(10 * time.Second); g.Connections() > 0; {
		select {
		case <-end:
			t.Fatal("it is still proxied")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestClientThatStaysAfterItsInstanceHasEndedHoldsNothing(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.instance(t, func(net.Conn) {})
	cfg := patient()
	cfg.StallTime = 200 * time.Millisecond
	g, address, _ := serve(t, cfg, f)
	c := connect(t, address, secrets.Sign(ticket("a", "room")))
	if rest, err := io.ReadAll(c.from); err != nil || len(rest) > 0 {
		t.Fatalf("%q, %v", rest, err)
	}
	gone(t, g) // though this client has not closed its side
}

func TestSideThatGoesOnAfterTheOtherHasEndedIsHeardOut(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	const words, pause, stall = 8, 100 * time.Millisecond, 400 * time.Millisecond
	f.instance(t, func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn) // the client's end came through
		for range words {                // for longer than stall, all in all
			<-time.After(pause)
			_, _ = io.WriteString(conn, "x")
		}
	})
	cfg := patient()
	cfg.StallTime = stall
	g, address, _ := serve(t, cfg, f)
	c := connect(t, address, secrets.Sign(ticket("a", "room")))
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(c.from); err != nil || len(rest) != words {
		t.Errorf("%q, %v", rest, err)
	}
	gone(t, g)
}

func TestClientBehindABalancerIsRelayedLikeAnyOther(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	addresses, heard := make(chan string, 1), make(chan string, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addresses <- r.RemoteAddr
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\na1\n")
		tcp, _ := conn.(*proxyproto.Conn).TCPConn()
		_ = tcp.CloseWrite() // it has said all, and listens on
		all, _ := io.ReadAll(rw)
		heard <- string(all)
	}))
	s.Listener = &proxyproto.Listener{Listener: s.Listener}
	s.Start()
	defer s.Close()
	f.add("a1", s.Listener.Addr().String())
	cfg := patient()
	cfg.Proxy = true
	g := New(cfg, Options{Tickets: secrets, Fleet: f, Order: byHash})
	front := httptest.NewUnstartedServer(g)
	front.Listener = &proxyproto.Listener{Listener: front.Listener}
	front.Start()
	defer front.Close()
	defer g.Drain(t.Context(), 0)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	header := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 4711}, conn.RemoteAddr())
	if _, err := header.WriteTo(conn); err != nil {
		t.Fatal(err)
	}
	early := "said before the answer"
	fmt.Fprintf(conn, "GET /v1/ws?%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n%s", secrets.Sign(ticket("a", "room")), early)
	if got := <-addresses; got != "203.0.113.7:4711" {
		t.Errorf("the instance saw %s", got)
	}
	if all, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(all), "\r\n\r\na1\n") { // the instance's end came through
		t.Errorf("%q, %v", all, err)
	}
	late := ", and after the other side's end"
	_, _ = io.WriteString(conn, late)
	_ = conn.(*net.TCPConn).CloseWrite()
	if got := <-heard; got != early+late {
		t.Errorf("the instance heard %q", got)
	}
	gone(t, g)
}
