package gateway

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestDrainEndsManyClientsEvenlyWithinItsTime(t *testing.T) {
	t.Parallel()
	for name, over := range map[string]time.Duration{"over 1s": time.Second, "at once": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const many = 2000 // one each millisecond would take 2 s
				g := New(config(), Options{Tickets: secrets, Fleet: &fleetFake{}, Order: byHash})
				var far []net.Conn
				for range many {
					client, clientFar := net.Pipe()
					instance, instanceFar := net.Pipe()
					far = append(far, clientFar, instanceFar)
					g.start(client, &upstream{conn: instance}, nil)
				}
				synctest.Wait()
				half := -1
				time.AfterFunc(over/2, func() { half = g.Connections() })
				begin := time.Now()
				g.Drain(t.Context(), over)
				if took := time.Since(begin); took < over || took > over+time.Second/2 {
					t.Errorf("%d clients took %v", many, took)
				}
				if over > 0 && (half < many*4/10 || half > many*6/10) {
					t.Errorf("half the time and %d of %d clients left", half, many)
				}
				for _, c := range far {
					if _, err := c.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // a pipe's
						t.Fatalf("a client is still connected: %v", err)
					}
				}
			})
		})
	}
}

func TestDrainThatIsHurriedEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(config(), Options{Tickets: secrets, Fleet: &fleetFake{}, Order: byHash})
		for range 10 {
			client, _ := net.Pipe()
			instance, _ := net.Pipe()
			g.start(client, &upstream{conn: instance}, nil)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		g.Drain(ctx, time.Hour)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// A client that is on its way in when the gateway stops is waited for, and not connected.
func TestNothingIsLeftOfAClientThatWasOnItsWayInDuringADrain(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	arrived, answer := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-answer
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn) // until the gateway ends it
			_ = conn.Close()
		}
	}))
	defer s.Close()
	f.add("a1", s.Listener.Addr().String())
	cfg := patient()
	g, address, _ := serve(t, cfg, f)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/ws?"+secrets.Sign(ticket("a", "room"))+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		g.Drain(t.Context(), 0)
	}()
	for g.enter(nil) { // until it drains
		g.work.Done()
		<-time.After(time.Millisecond)
	}
	select {
	case <-drained:
		t.Error("the drain did not wait for it")
	case <-time.After(50 * time.Millisecond):
	}
	if c := connect(t, address, secrets.Sign(ticket("a", "room"))); c.status != http.StatusServiceUnavailable {
		t.Errorf("another one got %d", c.status)
	}
	close(answer)
	<-drained
	if n := g.Connections(); n != 0 {
		t.Errorf("%d are connected", n)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(conn); err != nil && len(got) > 0 {
		t.Errorf("it got %q", got)
	}
}

func TestFullMemoryOfTicketsIsNotTheClientsFault(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.echo(t, "a1")
	g, address, d := serve(t, patient(), f)
	g.used.most = 1
	if c := connect(t, address, secrets.Sign(ticket("a", "room"))); c.node != "a1" {
		t.Fatalf("the first: %d %s", c.status, c.text)
	}
	if c := connect(t, address, secrets.Sign(ticket("a", "room"))); c.status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", c.status, c.text)
	}
	if n := d.count(); n != 1 {
		t.Errorf("%d dials", n)
	}
}
