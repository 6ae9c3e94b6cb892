package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/beeline-rt/beeline/contracts"
)

// certified makes a certificate for hosts, and what trusts it, whenever it is: time in a bubble begins in 2000.
func certified(t *testing.T, until time.Time, hosts ...string) (*tls.Config, *x509.CertPool) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: until}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, MinVersion: tls.VersionTLS12}, pool
}

var never = time.Unix(4_000_000_000, 0)

// front takes TLS off what comes to an instance that has none.
type front struct {
	came   atomic.Int32  // connections
	let    atomic.Int32  // of which handshakes
	header chan net.Addr // what PROXY headers said before them; nil: there are none
}

// before puts a front before an instance, over both transports.
func (x *front) before(t *testing.T, f *fleetFake, n contracts.NodeID, cfg *tls.Config) {
	t.Helper()
	f.change(n, func(l *contracts.Load) {
		if l.URL != "" {
			u, _ := url.Parse(l.URL)
			u.Scheme, u.Host = "wss", x.listen(t, u.Host, cfg)
			l.URL = u.String()
		}
		if l.TCP != "" {
			l.TCP = "tls://" + x.listen(t, strings.TrimPrefix(l.TCP, "tcp://"), cfg)
		}
	})
}

func (x *front) listen(t *testing.T, behind string, cfg *tls.Config) (address string) {
	t.Helper()
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	address = listen(t, func(conn net.Conn) {
		x.came.Add(1)
		all.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			defer func() { _ = conn.Close() }()
			if x.header != nil {
				said := proxyproto.NewConn(conn, proxyproto.WithPolicy(proxyproto.REQUIRE))
				x.header <- said.RemoteAddr()
				conn = said
			}
			secure := tls.Server(conn, cfg)
			if secure.HandshakeContext(ctx) != nil {
				return
			}
			x.let.Add(1)
			plain, err := new(net.Dialer).DialContext(ctx, "tcp", behind)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = plain.Close() }()
			defer context.AfterFunc(ctx, func() { _ = plain.Close() })()
			var both sync.WaitGroup
			both.Go(func() { _, _ = io.Copy(plain, secure); _ = plain.(*net.TCPConn).CloseWrite() })
			_, _ = io.Copy(secure, plain)
			_ = secure.CloseWrite()
			both.Wait()
		})
	})
	t.Cleanup(func() { cancel(); all.Wait() })
	return address
}

// echoes checks that what a client says comes back, and that its end does.
func echoes(t *testing.T, conn net.Conn, from io.Reader) {
	t.Helper()
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	go func() {
		_, _ = conn.Write(data)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(from); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(data), err)
	}
}

func TestInstanceThatSaysTLSIsSpokenToByTLSOverBothTransports(t *testing.T) {
	t.Parallel()
	for name, proxy := range map[string]bool{"plain": false, "with a PROXY header": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, x := &fleetFake{}, &front{}
			if proxy {
				x.header = make(chan net.Addr, 2)
			}
			f.raw(t, "a1", ponged)
			ws := &fleetFake{}
			url := "ws://" + ws.echo(t, "a1").Listener.Addr().String() + "/v1/ws"
			f.change("a1", func(l *contracts.Load) { l.URL = url })
			server, roots := certified(t, never, "127.0.0.1")
			x.before(t, f, "a1", server)
			cfg := patient()
			cfg.EdgeRoots, cfg.Proxy = roots, proxy
			g, address, _ := serve(t, cfg, f)
			c := connect(t, address, secrets.Sign(ticket("a", "room")))
			if c.node != "a1" {
				t.Fatalf("%d %s", c.status, c.text)
			}
			echoes(t, c.Conn, c.from)
			g2, tcp, _ := serveTCP(t, cfg, f)
			raw := dialRaw(t, tcp, showing(secrets.Sign(ticket("a", "room"))))
			if got := hears(t, raw); got != "a1" {
				t.Fatal(got)
			}
			echoes(t, raw, raw)
			if n := x.let.Load(); n != 2 || counted(g.metrics.failures)+counted(g2.metrics.failures) != 0 {
				t.Errorf("%d handshakes", n)
			}
			for _, client := range []net.Conn{c.Conn, raw} {
				if proxy {
					if got := (<-x.header).String(); got != client.LocalAddr().String() {
						t.Errorf("the instance was told %s, and the client is %s", got, client.LocalAddr())
					}
				}
			}
			gone(t, g)
			gone(t, g2)
		})
	}
}

// said is a log.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestInstanceWhoseCertificateIsWrongGetsNobodyAndItsAlternateDoes(t *testing.T) {
	t.Parallel()
	good, roots := certified(t, never, "127.0.0.1")
	strange, _ := certified(t, never, "127.0.0.1")
	elsewhere, itsRoots := certified(t, never, "edge.example", "127.0.0.2")
	expired, oldRoots := certified(t, time.Now().Add(-time.Minute), "127.0.0.1")
	for name, test := range map[string]struct {
		server *tls.Config
		roots  *x509.CertPool
		gets   bool
	}{
		"good": {good, roots, true}, "of nobody who is trusted": {strange, roots, false}, "by the system's roots": {good, nil, false},
		"for another host": {elsewhere, itsRoots, false}, "expired": {expired, oldRoots, false},
		"an old version": {&tls.Config{Certificates: good.Certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, roots, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, x := &fleetFake{}, &front{}
			f.raw(t, "a1", ponged)
			f.raw(t, "a2", ponged)
			ws := &fleetFake{}
			for _, n := range []contracts.NodeID{"a1", "a2"} {
				url := "ws://" + ws.echo(t, n).Listener.Addr().String() + "/v1/ws"
				f.change(n, func(l *contracts.Load) { l.URL = url })
			}
			order := byHash("room", f.Instances())
			x.before(t, f, order[0].Node, test.server)
			cfg := patient()
			cfg.EdgeRoots = test.roots
			want, failures := order[1].Node, 1
			if test.gets {
				want, failures = order[0].Node, 0
			}
			log := &said{}
			check := func(g *Gateway, got contracts.NodeID) {
				t.Helper()
				if n := counted(g.metrics.failures); got != want || n != failures {
					t.Errorf("on %q, not on %s; %d failures", got, want, n)
				}
			}
			d := &dials{}
			g := New(cfg, Options{Tickets: secrets, Fleet: f, Order: byHash, Dial: d.dial, Logger: slog.New(slog.NewTextHandler(log, nil))})
			address := serveHTTP(t, g)
			check(g, connect(t, address, secrets.Sign(ticket("a", "room"))).node)
			if lines := strings.Count(log.String(), "\n"); lines != failures || failures > 0 && !strings.Contains(log.String(), "tls: ") {
				t.Errorf("logged: %s", log)
			}
			g2, tcp, _ := serveTCP(t, cfg, f)
			check(g2, contracts.NodeID(hears(t, dialRaw(t, tcp, showing(secrets.Sign(ticket("a", "room")))))))
			if came, let := x.came.Load(), x.let.Load(); came != 2 || test.gets != (let == 2) {
				t.Errorf("%d connections to it, of which %d shook hands", came, let)
			}
		})
	}
}

func TestHandshakeThatDoesNotEndIsGivenUpForTheAlternate(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.raw(t, "a1", ponged)
	f.raw(t, "a2", ponged)
	ws := &fleetFake{}
	for _, n := range []contracts.NodeID{"a1", "a2"} {
		url := "ws://" + ws.echo(t, n).Listener.Addr().String() + "/v1/ws"
		f.change(n, func(l *contracts.Load) { l.URL = url })
	}
	order := byHash("room", f.Instances())
	var all sync.WaitGroup
	over := make(chan struct{})
	slow := listen(t, func(conn net.Conn) { // it says something all the time, and never all
		all.Go(func() {
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write([]byte{22, 3, 3, 0x40, 0})
			for {
				if _, err := conn.Write([]byte{0}); err != nil {
					return
				}
				select {
				case <-time.After(10 * time.Millisecond):
				case <-over:
					return
				}
			}
		})
	})
	t.Cleanup(func() { close(over); all.Wait() })
	f.change(order[0].Node, func(l *contracts.Load) { l.URL, l.TCP = "wss://"+slow+"/v1/ws", "tls://"+slow })
	_, roots := certified(t, never, "127.0.0.1")
	cfg := config() // within a second
	cfg.EdgeRoots = roots
	g, address, _ := serve(t, cfg, f)
	g2, tcp, _ := serveTCP(t, cfg, f)
	start := time.Now()
	if got := connect(t, address, secrets.Sign(ticket("a", "room"))).node; got != order[1].Node {
		t.Errorf("on %q", got)
	}
	if got := hears(t, dialRaw(t, tcp, showing(secrets.Sign(ticket("a", "room"))))); got != string(order[1].Node) {
		t.Errorf("over raw TCP on %q", got)
	}
	if took := time.Since(start); took < 2*cfg.AnswerTime || took > 10*cfg.AnswerTime {
		t.Errorf("it took %v", took)
	}
	if counted(g.metrics.failures) != 1 || counted(g2.metrics.failures) != 1 {
		t.Error("that is no failure to them")
	}
}

// overTLS has the instances of a ward want TLS.
func overTLS(t *testing.T, trusted bool) (*tls.Config, func(*Config)) {
	t.Helper()
	server, roots := certified(t, never, "a0", "a1", "a2")
	if !trusted {
		_, roots = certified(t, never, "a0", "a1", "a2")
	}
	return server, func(c *Config) { c.EdgeRoots = roots }
}

func TestInstanceThatWantsTLSAndHangsIsFoundAsOneThatDoesNot(t *testing.T) {
	t.Parallel()
	server, change := overTLS(t, true)
	inWardOver(t, server, 3, change, func(w *ward) {
		t := w.t
		all, at := w.crowd()
		<-time.After(time.Minute)
		if n := lost(all); n != 0 || counted(w.g.metrics.probeFailures) != 0 || at.asked.Load() < 100 {
			t.Fatalf("it is well, and %d clients are cut off after %d questions", n, at.asked.Load())
		}
		at.becomes(unready)
		<-time.After(2 * w.g.cfg.Probe)
		if n, _ := w.next(); n == at.node {
			t.Errorf("it says that it is not ready, and the next is on %s", n)
		}
		at.becomes(hung)
		<-time.After(foundOut(w.g.cfg))
		if n := lost(all); n != len(all) {
			t.Errorf("%d of %d are cut off", n, len(all))
		}
	})
}

func TestInstanceThatWantsTLSAndAPROXYHeaderIsAskedWithBoth(t *testing.T) {
	t.Parallel()
	server, change := overTLS(t, true)
	inWardOver(t, server, 1, func(c *Config) { change(c); c.Proxy = true }, func(w *ward) {
		<-time.After(time.Second)
		if n, failed := w.all["a0"].asked.Load(), counted(w.g.metrics.probeFailures); n < 2 || failed != 0 {
			w.t.Errorf("it was asked %d times, of which %d failed", n, failed)
		}
	})
}

func TestCertificateThatIsWrongIsNoSilence(t *testing.T) {
	t.Parallel()
	server, change := overTLS(t, false)
	inWardOver(t, server, 3, change, func(w *ward) {
		t := w.t
		<-time.After(time.Second)
		if n := counted(w.g.metrics.probeFailures); n == 0 {
			t.Error("no question has failed")
		}
		if n := counted(w.g.metrics.instancesCut) + counted(w.g.metrics.cutsHeld); n != 0 {
			t.Error("they are taken for hung")
		}
		for _, x := range w.all {
			if x.asked.Load() != 0 {
				t.Errorf("%s was asked", x.node)
			}
		}
	})
}
