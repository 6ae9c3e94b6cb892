// Package registryserver wires presence, token, hook and registry into one process: a registry. It is the only package
// that knows both sides of their interfaces, as services/node is for a node; the registry that a test runs is the registry
// that ships.
package registryserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beeline-rt/beeline/services/hook"
	"github.com/beeline-rt/beeline/services/httpserver"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/registry"
)

// requestTime bounds a request and its answer: longer than a hook may take.
const requestTime = 10 * time.Second

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
	http     *httpserver.Server
	started  bool // the registry reads fleets

	stop    sync.Once
	stopped chan struct{}
}

// Start validates the configuration, connects to Redis, reads the fleets once, and serves callers. An error says what is
// wrong and what to do; nothing is left running then.
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
	s.http.Serve(&s.http.Clients, s.registry.Handler(), requestTime)
	if s.http.Admin.Listener != nil {
		s.http.Serve(&s.http.Admin, s.adminHandler(), requestTime)
	}
	return nil
}

// listen opens the listeners, so that a port in use is seen before anything else is touched.
func (s *Server) listen(ctx context.Context) error {
	if s.http.Clients.Listener = s.cfg.Listener; s.cfg.Listener == nil {
		if err := s.http.Clients.Listen(ctx, net.ListenConfig{}, "callers", s.cfg.Listen); err != nil {
			return err
		}
	}
	if s.cfg.TLSCert != "" {
		if err := s.http.Clients.Secure(s.cfg.TLSCert, s.cfg.TLSKey); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	return s.http.ListenAdmin(ctx, s.cfg.Admin)
}

// URL is the http address for callers, with the port in use.
func (s *Server) URL() string {
	if s.cfg.TLSCert != "" {
		return "https://" + s.http.Clients.Listener.Addr().String()
	}
	return "http://" + s.http.Clients.Listener.Addr().String()
}

// AdminURL is the http address of the admin listener, or "" when there is none.
func (s *Server) AdminURL() string { return s.http.AdminURL() }

// Done is closed when the registry cannot go on by itself; Err says why. It is still to be stopped.
func (s *Server) Done() <-chan struct{} { return s.http.Done() }

// Err is nil until Done is closed.
func (s *Server) Err() error { return s.http.Err() }

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
	s.http.Clients.Shutdown(ctx)
	s.http.Admin.Shutdown(ctx)
	s.http.Wait()
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
