package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// listen gives the connections that come to take, until the test ends.
func listen(t *testing.T, take func(net.Conn)) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			take(conn)
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return l.Addr().String()
}

// raw starts an instance for raw TCP: it answers pings with these frames, says its name when it is asked who it is, and then
// echoes. Without frames, it says nothing at all.
func (f *fleetFake) raw(t *testing.T, n contracts.NodeID, answer ...string) {
	t.Helper()
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	address := listen(t, func(conn net.Conn) {
		all.Go(func() {
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			for {
				switch said, err := readFrame(conn, 100); {
				case err != nil:
					return
				case string(said) == "who":
					_, _ = conn.Write(contracts.AppendFrame(nil, []byte(n)))
					_, _ = io.Copy(conn, conn)
					return
				case string(said) != `{"ping":{}}`:
					t.Errorf("an instance was told %q", said)
				}
				for _, a := range answer {
					_, _ = conn.Write(contracts.AppendFrame(nil, []byte(a)))
				}
			}
		})
	})
	t.Cleanup(func() { cancel(); all.Wait() })
	f.add(n, "127.0.0.1:1")
	f.change(n, func(l *contracts.Load) { l.TCP = "tcp://" + address })
}

// serveTCP starts a gateway for raw TCP.
func serveTCP(t *testing.T, cfg Config, f Fleet) (g *Gateway, address string, d *dials) {
	t.Helper()
	cfg.AnswerTime = time.Second // a loaded machine is not a dead one
	d = &dials{}
	g = New(cfg, Options{Tickets: secrets, Fleet: f, Order: byHash, Dial: d.dial})
	ctx := context.WithoutCancel(t.Context())
	address = listen(t, func(conn net.Conn) { g.TakeTCP(ctx, conn) })
	t.Cleanup(func() { g.Drain(ctx, 0) })
	return g, address, d
}

func dialRaw(t *testing.T, address string, said ...string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	var all []byte
	for _, frame := range append(said, "who") {
		all = contracts.AppendFrame(all, []byte(frame))
	}
	_, _ = conn.Write(all)
	return conn
}

func showing(query string) string {
	return string(contracts.AppendTicketFrame(nil, contracts.TicketFrame{Ticket: query}))
}

// hears reads a frame.
func hears(t *testing.T, conn net.Conn) string {
	t.Helper()
	frame, err := readFrame(conn, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(frame)
}

const ponged = `{"pong":{}}`

func TestTicketIsKeptAndAllElsePassesUntouchedOverTCP(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.raw(t, "a1", ponged)
	g, address, _ := serveTCP(t, config(), f)
	c := dialRaw(t, address, showing(secrets.Sign(ticket("a", "room")))+"\n")
	if got := hears(t, c); got != "a1" { // what it asked came with the ticket
		t.Fatal(got)
	}
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	go func() {
		_, _ = c.Write(data)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(data), err)
	}
	for g.Connections()+int(g.open.Load()) > 0 {
		<-time.After(time.Millisecond)
	}
}

func TestSameKeySameInstanceAndItsAlternateOverTCP(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	for i := range 4 {
		f.raw(t, contracts.NodeID(fmt.Sprint("a", i+1)), ponged)
	}
	f.add("a9", "127.0.0.1:1") // has no raw TCP
	_, address, _ := serveTCP(t, config(), f)
	node := func() contracts.NodeID {
		return contracts.NodeID(hears(t, dialRaw(t, address, showing(secrets.Sign(ticket("a", "room"))))))
	}
	home := node()
	if again := node(); again != home {
		t.Errorf("one key is on %s and on %s", home, again)
	}
	f.change(home, func(l *contracts.Load) { l.State = contracts.NodeDraining })
	alternate := node()
	if alternate == home || node() != alternate {
		t.Errorf("%s drains, and the alternate is %s", home, alternate)
	}
}

func TestInstanceThatDoesNotTakeAClientOverTCPIsPassedOver(t *testing.T) {
	t.Parallel()
	full := string(contracts.AppendRefusal(nil, &contracts.Error{Code: contracts.CodeUnavailable, Message: "full"}, contracts.CloseOverload)[contracts.FrameHeader:])
	for name, answer := range map[string][]string{"full": {full}, "hung": nil, "nonsense": {"hello"}, "huge": {strings.Repeat("x", 100<<10)}} {
		f := &fleetFake{}
		f.raw(t, "bad", answer...)
		f.raw(t, "good", ponged)
		g, address, d := serveTCP(t, config(), f)
		both := false
		for range 20 { // keys, some of which belong to the bad one
			key := contracts.PlacementKey(fmt.Sprint("k", d.count()))
			before := d.count()
			if got := hears(t, dialRaw(t, address, showing(secrets.Sign(ticket("a", key))))); got != "good" {
				t.Fatalf("%s: on %s", name, got)
			}
			both = both || d.count() == before+2
		}
		if !both {
			t.Errorf("%s: the bad one was never tried: the test shows nothing", name)
		}
		if g.Connections() == 0 {
			t.Error("nobody is proxied")
		}
	}
}

func TestEveryRefusalOverTCPIsAClearErrorAndDialsNobody(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.raw(t, "a1", ponged)
	g, address, d := serveTCP(t, config(), f)
	good := secrets.Sign(ticket("a", "room"))
	old := ticket("a", "room")
	old.Expires = time.Now().Add(-time.Second)
	used := secrets.Sign(ticket("a", "room"))
	if got := hears(t, dialRaw(t, address, showing(used))); got != "a1" {
		t.Fatal(got)
	}
	before := d.count()
	for name, test := range map[string]struct {
		said string
		want contracts.Code
		code contracts.CloseCode
	}{
		"no ticket":       {`{"auth":{"client":"eve"}}`, contracts.CodeBadRequest, contracts.ClosePolicy},
		"empty":           {"", contracts.CodeBadRequest, contracts.ClosePolicy},
		"not of the form": {showing("c=a"), contracts.CodeBadRequest, contracts.ClosePolicy},
		"percent":         {showing(strings.Replace(good, "room", "ro%6fm", 1)), contracts.CodeBadRequest, contracts.ClosePolicy},
		"huge":            {strings.Repeat("x", contracts.MaxTicketFrame+1), contracts.CodeBadRequest, contracts.ClosePolicy},
		"forged":          {showing(strings.Replace(good, "k=room", "k=other", 1)), contracts.CodeUnauthorized, contracts.CloseUnauthorized},
		"expired":         {showing(secrets.Sign(old)), contracts.CodeUnauthorized, contracts.CloseUnauthorized},
		"used":            {showing(used), contracts.CodeUnauthorized, contracts.CloseUnauthorized},
		"passed twice": {
			string(contracts.AppendTicketFrame(nil, contracts.TicketFrame{Ticket: secrets.Sign(ticket("b", "room")), Passed: "b"})),
			contracts.CodeInternal, contracts.CloseInternal,
		},
	} {
		c := dialRaw(t, address, test.said)
		lines := strings.Split(hears(t, c), "\n")
		first, _ := contracts.DecodeEvent([]byte(lines[0]))
		last, _ := contracts.DecodeEvent([]byte(lines[len(lines)-1]))
		if first.Error == nil || first.Error.Code != test.want || last.Close == nil || last.Close.Code != test.code {
			t.Errorf("%s: %q", name, lines)
		}
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("%s: then %q, %v", name, rest, err)
		}
	}
	if d.count() != before {
		t.Errorf("%d dials", d.count()-before)
	}
	g.Drain(t.Context(), 0)
	if rest, _ := io.ReadAll(dialRaw(t, address, showing(good))); len(rest) > 0 {
		t.Errorf("once it has stopped: %q", rest)
	}
}

func TestClientOfAnotherClusterIsPassedOnOverTCPOrServedHere(t *testing.T) {
	t.Parallel()
	here, there := &fleetFake{}, &fleetFake{}
	here.raw(t, "a1", ponged)
	there.raw(t, "b1", ponged)
	cfgB := config()
	cfgB.Cluster = "b"
	_, peer, _ := serveTCP(t, cfgB, there)
	cfg := config()
	cfg.TCPPeers = map[contracts.ClusterName][]string{"b": {peer}}
	_, address, _ := serveTCP(t, cfg, here)
	foreign := secrets.Sign(ticket("b", "room"))
	if got := hears(t, dialRaw(t, address, showing(foreign))); got != "b1" {
		t.Errorf("on %s", got)
	}
	if got := hears(t, dialRaw(t, address, showing(foreign))); !strings.Contains(got, "used before") {
		t.Errorf("the same again: %s", got)
	}
	cfg.TCPPeers = map[contracts.ClusterName][]string{"b": {"127.0.0.1:1"}}
	_, alone, _ := serveTCP(t, cfg, here)
	if got := hears(t, dialRaw(t, alone, showing(secrets.Sign(ticket("b", "room"))))); got != "a1" {
		t.Errorf("while the other cluster cannot be reached: on %s", got)
	}
}

func TestClientThatShowsNoTicketHoldsUpNoStop(t *testing.T) {
	t.Parallel()
	g, address, _ := serveTCP(t, config(), &fleetFake{})
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	for g.open.Load() == 0 {
		<-time.After(time.Millisecond)
	}
	start := time.Now()
	g.Drain(t.Context(), 0)
	if waited := time.Since(start); waited > ticketTime/2 {
		t.Errorf("the stop took %v", waited)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client is kept: %v", err)
	}
}
