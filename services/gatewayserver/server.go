// Package gatewayserver wires presence, rendezvous and gateway into one process: a gateway. It is the only package that knows
// both sides of their interfaces, as services/node is for a node; the gateway that a test runs is the gateway that ships.
package gatewayserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gateway"
	"github.com/beeline-rt/beeline/services/httpserver"
	"github.com/beeline-rt/beeline/services/presence"
)

// ClientPath is where clients connect, with a ticket as the query: the same as at an edge.
const ClientPath = "/v1/ws"

// Server is a running gateway. Its methods are safe for concurrent use.
type Server struct {
	// set by Start
	cfg     Config
	log     *slog.Logger
	gateway *gateway.Gateway
	fleet   *fleet
	metrics *prometheus.Registry
	http    *httpserver.Server
	cancel  context.CancelFunc
	probing sync.WaitGroup

	stop    sync.Once
	stopped chan struct{}
}

// Start validates the configuration, connects to Redis, reads the fleet, and serves clients. An error says what is wrong and
// what to do; nothing is left running then.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, stopped: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.http = httpserver.New(s.log)
	if err := s.start(ctx); err != nil {
		s.halt(context.WithoutCancel(ctx))
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	secrets, err := contracts.ParseTicketSecrets(s.cfg.TicketKeys...)
	if err != nil {
		return fmt.Errorf("%w: ticket-key: %w", ErrConfig, err)
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	reader, err := presence.NewFleetReader(s.cfg.Redis, s.cfg.Gateway.Cluster)
	if err != nil {
		return err
	}
	s.fleet = &fleet{reader: reader, poll: s.cfg.Poll, hold: s.cfg.Hold, log: s.log}
	if err := reader.Check(ctx); err != nil {
		return err
	}
	s.fleet.read(ctx)
	for c := range s.cfg.Gateway.Peers {
		if s.http.TCP.Listener != nil && len(s.cfg.Gateway.TCPPeers[c]) == 0 {
			s.log.Warn("clients over raw TCP whose ticket is for another cluster are served here: name the gateways of that cluster with tcp-peer", slog.String("other", string(c)))
		}
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.fleet.start(background)
	s.gateway = gateway.New(s.cfg.Gateway, gateway.Options{
		Tickets: secrets, Fleet: s.fleet, Order: order(s.cfg.Gateway.Cluster), Dial: s.cfg.Dial, Logger: s.log,
	})
	s.probing.Go(func() { s.gateway.Probe(background) })
	s.metrics = prometheus.NewRegistry()
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics.MustRegister(s.gateway.Collectors()...)
	mux := http.NewServeMux()
	mux.Handle("GET "+ClientPath, s.gateway)
	s.health(mux)
	s.http.Serve(&s.http.Clients, mux, httpserver.HeaderTime)
	if s.http.TCP.Listener != nil {
		s.http.ServeTCP(func(client net.Conn) { s.gateway.TakeTCP(background, client) })
	}
	if s.http.Admin.Listener != nil {
		admin := http.NewServeMux()
		s.health(admin)
		admin.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{Registry: s.metrics}))
		if s.cfg.Profiles {
			httpserver.Profiles(admin)
		}
		s.http.Serve(&s.http.Admin, admin, httpserver.HeaderTime)
	}
	return nil
}

// health answers what a load balancer asks: healthz, the process runs; readyz, it knows instances.
func (s *Server) health(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if len(s.fleet.Instances()) == 0 {
			http.Error(w, "no instance is known", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
}

// listen opens the listeners, so that a port in use is seen before anything else is touched.
func (s *Server) listen(ctx context.Context) error {
	if s.http.Clients.Listener = s.cfg.Listener; s.cfg.Listener == nil {
		if err := s.http.Clients.Listen(ctx, net.ListenConfig{}, "clients", s.cfg.Listen); err != nil {
			return err
		}
	}
	s.http.Clients.TrustProxies(s.cfg.ProxyTrust)
	if s.cfg.TLSCert != "" {
		if err := s.http.Clients.Secure(s.cfg.TLSCert, s.cfg.TLSKey); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if err := s.listenTCP(ctx); err != nil {
		return err
	}
	return s.http.ListenAdmin(ctx, s.cfg.Admin)
}

// listenTCP opens the listener for clients over raw TCP, if there is to be one.
func (s *Server) listenTCP(ctx context.Context) error {
	switch s.http.TCP.Listener = s.cfg.TCPListener; {
	case s.cfg.TCPListener != nil:
	case s.cfg.TCPListen == "":
		return nil
	default:
		if err := s.http.TCP.Listen(ctx, net.ListenConfig{}, "clients over raw TCP", s.cfg.TCPListen); err != nil {
			return err
		}
	}
	s.http.TCP.TrustProxies(s.cfg.ProxyTrust)
	if s.cfg.TLSCert == "" {
		return nil
	}
	if err := s.http.TCP.SecureTCP(s.cfg.TLSCert, s.cfg.TLSKey); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// TCPURL is the tcp:// or tls:// address for clients over raw TCP, with the port in use, or "" when there is none.
func (s *Server) TCPURL() string {
	switch {
	case s.http.TCP.Listener == nil:
		return ""
	case s.cfg.TLSCert != "":
		return "tls://" + s.http.TCP.Listener.Addr().String()
	}
	return "tcp://" + s.http.TCP.Listener.Addr().String()
}

// URL is the WebSocket address for clients, with the port in use and without a ticket.
func (s *Server) URL() string {
	scheme := "ws://"
	if s.cfg.TLSCert != "" {
		scheme = "wss://"
	}
	return scheme + s.http.Clients.Listener.Addr().String() + ClientPath
}

// AdminURL is the http address of the admin listener, or "" when there is none.
func (s *Server) AdminURL() string { return s.http.AdminURL() }

// Metrics are what /metrics shows.
func (s *Server) Metrics() prometheus.Gatherer { return s.metrics }

// Done is closed when the gateway cannot go on by itself; Err says why. It is still to be stopped.
func (s *Server) Done() <-chan struct{} { return s.http.Done() }

// Err is nil until Done is closed.
func (s *Server) Err() error { return s.http.Err() }

// Stop takes no new clients, cuts those there are off over DrainTime, and ends everything. Every call waits for the one stop
// there is; when ctx is over the rest is cut at once, and its error returned.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() {
		defer close(s.stopped)
		s.halt(ctx)
	})
	<-s.stopped
	return ctx.Err()
}

// halt closes what was started, as far as Start came.
func (s *Server) halt(ctx context.Context) {
	if s.gateway != nil {
		s.gateway.Drain(ctx, s.cfg.DrainTime)
	}
	s.http.Clients.Close()
	s.http.TCP.Close()
	s.http.Admin.Close()
	s.http.Wait()
	if s.cancel != nil {
		s.cancel()
	}
	s.probing.Wait()
	if s.fleet != nil {
		s.fleet.loop.Wait()
		s.fleet.reader.Close()
	}
}
