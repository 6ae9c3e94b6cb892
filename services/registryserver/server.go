// Package registryserver wires presence, token, hook and registry into one process: a registry. It is the only package
// that knows both sides of their interfaces, as services/node is for a node; the registry that a test runs is the registry
// that ships.
package registryserver

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

	"github.com/beeline-rt/beeline/services/hook"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/registry"
)

const (
	requestTime = 10 * time.Second // for a request and its answer: longer than a hook may take
	headerTime  = 5 * time.Second
	headerSize  = 16 << 10 // a token has at most 8 KiB
)

// Server is a running registry. Its methods are safe for concurrent use.
type Server struct {
	// set by Start
	cfg      Config
	log      *slog.Logger
	registry *registry.Registry
	home     *presence.FleetReader
	fleets   []*presence.FleetReader
	hook     *hook.Hook // nil: none
	metrics  *prometheus.Registry
	listener net.Listener
	adminLn  net.Listener
	callers  *http.Server
	admin    *http.Server
	started  bool // the registry reads fleets
	servers  sync.WaitGroup

	stop    sync.Once
	stopped chan struct{}

	mu   sync.Mutex
	err  error // guarded by mu
	done chan struct{}
}

// Start validates the configuration, connects to Redis, reads the fleets once, and serves callers. An error says what is
// wrong and what to do; nothing is left running then.
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
	options, err := s.options()
	if err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	if err := s.home.Check(ctx); err != nil {
		return err
	}
	s.registry = registry.New(s.cfg.Registry, options)
	s.started = true
	s.registry.Start(ctx)
	s.register()
	s.callers = s.serve(s.listener, s.registry.Handler())
	if s.adminLn != nil {
		s.admin = s.serve(s.adminLn, s.adminHandler())
	}
	return nil
}

// listen opens the listeners, so that a port in use is seen before anything else is touched.
func (s *Server) listen(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if s.listener, err = lc.Listen(ctx, "tcp", s.cfg.Listen); err != nil {
		return fmt.Errorf("listen for callers on %s: %w", s.cfg.Listen, err)
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
		Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: headerSize, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.servers.Go(func() {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve on %s: %w", ln.Addr(), err))
		}
	})
	return server
}

// fail says that the registry cannot go on; the first reason counts.
func (s *Server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
	}
}

// URL is the http address for callers, with the port in use.
func (s *Server) URL() string {
	if s.cfg.TLSCert != "" {
		return "https://" + s.listener.Addr().String()
	}
	return "http://" + s.listener.Addr().String()
}

// AdminURL is the http address of the admin listener, or "" when there is none.
func (s *Server) AdminURL() string {
	if s.adminLn == nil {
		return ""
	}
	return "http://" + s.adminLn.Addr().String()
}

// Done is closed when the registry cannot go on by itself; Err says why. It is still to be stopped.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is nil until Done is closed.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop takes no new requests, lets those under way end for StopTime at most, and ends everything. Every call waits for the
// one stop there is; the error is that of ctx.
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
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StopTime)
	defer cancel()
	for _, part := range []struct {
		server *http.Server
		ln     net.Listener
	}{{s.callers, s.listener}, {s.admin, s.adminLn}} {
		switch {
		case part.server != nil:
			if part.server.Shutdown(ctx) != nil {
				_ = part.server.Close()
			}
		case part.ln != nil:
			_ = part.ln.Close()
		}
	}
	s.servers.Wait()
	if s.started {
		s.registry.Close()
	}
	for _, f := range s.fleets {
		f.Close()
	}
	if s.hook != nil {
		s.hook.Close()
	}
}
