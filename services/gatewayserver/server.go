// Package gatewayserver wires presence, rendezvous and gateway into one process: a gateway. It is the only package that knows
// both sides of their interfaces, as services/node is for a node; the gateway that a test runs is the gateway that ships.
package gatewayserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gateway"
	"github.com/beeline-rt/beeline/services/presence"
)

// ClientPath is where clients connect, with a ticket as the query: the same as at an edge.
const ClientPath = "/v1/ws"

const (
	headerTime = 5 * time.Second
	headerSize = 16 << 10 // a token has at most 8 KiB
)

// Server is a running gateway. Its methods are safe for concurrent use.
type Server struct {
	// set by Start
	cfg      Config
	log      *slog.Logger
	gateway  *gateway.Gateway
	fleet    *fleet
	metrics  *prometheus.Registry
	listener net.Listener
	adminLn  net.Listener
	clients  *http.Server
	admin    *http.Server
	cancel   context.CancelFunc
	servers  sync.WaitGroup

	stop    sync.Once
	stopped chan struct{}

	mu   sync.Mutex
	err  error // guarded by mu
	done chan struct{}
}

// Start validates the configuration, connects to Redis, reads the fleet, and serves clients. An error says what is wrong and
// what to do; nothing is left running then.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, done: make(chan struct{}), stopped: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
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
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.fleet.start(background)
	s.gateway = gateway.New(s.cfg.Gateway, gateway.Options{
		Tickets: secrets, Fleet: s.fleet, Order: order(s.cfg.Gateway.Cluster), Logger: s.log,
	})
	s.metrics = prometheus.NewRegistry()
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics.MustRegister(s.gateway.Collectors()...)
	mux := http.NewServeMux()
	mux.Handle("GET "+ClientPath, s.gateway)
	s.health(mux)
	s.clients = s.serve(s.listener, mux)
	if s.adminLn != nil {
		admin := http.NewServeMux()
		s.health(admin)
		admin.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{Registry: s.metrics}))
		s.admin = s.serve(s.adminLn, admin)
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
func (s *Server) listen(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if s.listener, err = lc.Listen(ctx, "tcp", s.cfg.Listen); err != nil {
		return fmt.Errorf("listen for clients on %s: %w", s.cfg.Listen, err)
	}
	if s.cfg.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(s.cfg.TLSCert, s.cfg.TLSKey)
		if err != nil {
			return fmt.Errorf("%w: tls-cert and tls-key: %w", ErrConfig, err)
		}
		s.listener = tls.NewListener(s.listener, &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
	}
	if s.cfg.Admin == "" {
		return nil
	}
	if s.adminLn, err = lc.Listen(ctx, "tcp", s.cfg.Admin); err != nil {
		return fmt.Errorf("listen for metrics and health on %s: %w", s.cfg.Admin, err)
	}
	return nil
}

func (s *Server) serve(ln net.Listener, h http.Handler) *http.Server {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: headerTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: headerSize, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.servers.Go(func() {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve on %s: %w", ln.Addr(), err))
		}
	})
	return server
}

// fail says that the gateway cannot go on; the first reason counts.
func (s *Server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
	}
}

// URL is the WebSocket address for clients, with the port in use and without a ticket.
func (s *Server) URL() string {
	scheme := "ws://"
	if s.cfg.TLSCert != "" {
		scheme = "wss://"
	}
	return scheme + s.listener.Addr().String() + ClientPath
}

// AdminURL is the http address of the admin listener, or "" when there is none.
func (s *Server) AdminURL() string {
	if s.adminLn == nil {
		return ""
	}
	return "http://" + s.adminLn.Addr().String()
}

// Metrics are what /metrics shows.
func (s *Server) Metrics() prometheus.Gatherer { return s.metrics }

// Done is closed when the gateway cannot go on by itself; Err says why. It is still to be stopped.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is nil until Done is closed.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

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
	for _, part := range []struct {
		server *http.Server
		ln     net.Listener
	}{{s.clients, s.listener}, {s.admin, s.adminLn}} {
		switch {
		case part.server != nil:
			_ = part.server.Close()
		case part.ln != nil:
			_ = part.ln.Close()
		}
	}
	s.servers.Wait()
	if s.cancel != nil {
		s.cancel()
	}
	if s.fleet != nil {
		s.fleet.loop.Wait()
		s.fleet.reader.Close()
	}
}
