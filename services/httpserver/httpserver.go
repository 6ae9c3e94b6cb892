// Package httpserver is the HTTP part that every server process has: a listener for those it serves and one for operators,
// opened before anything else is touched; the servers on them; and the one reason why the process cannot go on. It is a leaf
// that the packages which make processes import.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// HeaderTime bounds the reading of a request's headers.
	HeaderTime = 5 * time.Second
	headerSize = 16 << 10 // a token has at most 8 KiB
)

// ErrTLS is wrapped by the error for a certificate or key that cannot be used.
var ErrTLS = errors.New("tls-cert and tls-key")

// Part is one listener and the server on it.
type Part struct {
	Listener net.Listener // nil: there is none

	server *http.Server // nil until it serves
}

// Secure has the listener speak TLS with the certificate and key in these PEM files, for HTTP. The error is [ErrTLS].
func (p *Part) Secure(cert, key string) error { return p.secure(cert, key, "http/1.1") }

// SecureTCP is Secure for what is no HTTP: whatever protocol a client names is taken.
func (p *Part) SecureTCP(cert, key string) error { return p.secure(cert, key) }

func (p *Part) secure(cert, key string, protocols ...string) error {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTLS, err)
	}
	p.Listener = tls.NewListener(p.Listener, &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: protocols,
	})
	return nil
}

// Close ends the server and its connections, or the listener if nothing serves on it.
func (p *Part) Close() {
	switch {
	case p.server != nil:
		_ = p.server.Close()
	case p.Listener != nil:
		_ = p.Listener.Close()
	}
}

// Shutdown is Close that lets requests under way end, as long as ctx is not over.
func (p *Part) Shutdown(ctx context.Context) {
	if p.server == nil || p.server.Shutdown(ctx) != nil {
		p.Close()
	}
}

// Server is the parts of a process. Make it with [New]. Its parts belong to who starts and stops it; Fail, Done, Err and
// AdminURL are safe for concurrent use once it serves.
type Server struct {
	Clients, TCP, Admin Part // TCP is for clients too, and is no HTTP
	API                 Part // for backends; not every process has it

	log     *slog.Logger
	running sync.WaitGroup

	mu   sync.Mutex
	err  error // guarded by mu
	done chan struct{}
}

// New returns a server that listens nowhere.
func New(log *slog.Logger) *Server { return &Server{log: log, done: make(chan struct{})} }

// Listen opens a listener; what says whom it is for. Port 0 picks one.
func (p *Part) Listen(ctx context.Context, lc net.ListenConfig, what, address string) (err error) {
	if p.Listener, err = lc.Listen(ctx, "tcp", address); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("listen for %s on %s: %w (stop what has it, or give another port)", what, address, err)
		}
		return fmt.Errorf("listen for %s on %s: %w", what, address, err)
	}
	return nil
}

// ListenAdmin opens the listener for operators; an empty address is none.
func (s *Server) ListenAdmin(ctx context.Context, address string) error {
	if address == "" {
		return nil
	}
	return s.Admin.Listen(ctx, net.ListenConfig{}, "metrics and health", address)
}

// Serve serves on a part that listens. A request and its answer may each take requestTime; 0 is no bound.
func (s *Server) Serve(p *Part, h http.Handler, requestTime time.Duration) {
	p.server = &http.Server{
		Handler: h, ReadHeaderTimeout: HeaderTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: headerSize, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.running.Go(func() {
		if err := p.server.Serve(p.Listener); !errors.Is(err, http.ErrServerClosed) {
			s.Fail(fmt.Errorf("serve on %s: %w", p.Listener.Addr(), err))
		}
	})
}

// ServeTCP gives the connections that come over raw TCP to take, which must not wait, until the part is closed.
func (s *Server) ServeTCP(take func(net.Conn)) {
	s.running.Go(func() {
		for wait := time.Duration(0); ; {
			conn, err := s.TCP.Listener.Accept()
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil: // no open files are left, most likely; net/http waits as long
				if wait == 0 {
					s.log.Warn("raw TCP: no connection is accepted for now", slog.Any("error", err))
				}
				wait = min(max(2*wait, 5*time.Millisecond), time.Second)
				<-time.After(wait)
			default:
				wait = 0
				take(conn)
			}
		}
	})
}

// Wait returns when all servers have ended.
func (s *Server) Wait() { s.running.Wait() }

// Fail says that the process cannot go on; the first reason counts.
func (s *Server) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
	}
}

// Done is closed when the process cannot go on by itself; Err says why. It is still to be stopped.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is nil until Done is closed.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// AdminURL is the http address for operators, or "" when there is none.
func (s *Server) AdminURL() string {
	if s.Admin.Listener == nil {
		return ""
	}
	return "http://" + s.Admin.Listener.Addr().String()
}
