package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// ClientPath is where clients connect.
const ClientPath = "/v1/ws"

const (
	headerTime = 5 * time.Second // for a request's headers, and for a PROXY header
	headerSize = 16 << 10        // a token has at most 8 KiB
)

// listen opens the listeners, so that a port in use is seen before anything else is touched.
func (n *Node) listen(ctx context.Context) error {
	n.listener = n.cfg.Listener
	var lc net.ListenConfig
	if n.listener == nil {
		// Heartbeats find dead clients. TCP's own would take four system calls for each connection.
		clients := net.ListenConfig{KeepAlive: -1}
		ln, err := clients.Listen(ctx, "tcp", n.cfg.Listen)
		if err != nil {
			return describe("clients", n.cfg.Listen, err)
		}
		n.listener = ln
	}
	if len(n.cfg.ProxyTrust) > 0 {
		n.listener = &proxyproto.Listener{
			Listener: n.listener, ConnPolicy: proxyPolicy(n.cfg.ProxyTrust), ReadHeaderTimeout: headerTime,
		}
	}
	if n.cfg.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(n.cfg.TLSCert, n.cfg.TLSKey)
		if err != nil {
			return fmt.Errorf("%w: tls-cert and tls-key: %w", ErrConfig, err)
		}
		n.listener = tls.NewListener(n.listener, &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
	}
	if n.cfg.Admin != "" {
		ln, err := lc.Listen(ctx, "tcp", n.cfg.Admin)
		if err != nil {
			return describe("metrics and health", n.cfg.Admin, err)
		}
		n.adminLn = ln
	}
	return nil
}

// proxyPolicy demands a PROXY header from trusted peers, since without one a client behind them could send its own; from
// anybody else it is not looked for, and so is a malformed request.
func proxyPolicy(trusted []netip.Prefix) proxyproto.ConnPolicyFunc {
	return func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		addr, err := netip.ParseAddrPort(o.Upstream.String())
		if err != nil {
			return proxyproto.SKIP, nil //nolint:nilerr // no IP peer is trusted
		}
		for _, p := range trusted {
			if p.Contains(addr.Addr().Unmap()) {
				return proxyproto.REQUIRE, nil
			}
		}
		return proxyproto.SKIP, nil
	}
}

// serve starts the servers on the listeners.
func (n *Node) serve() {
	mux := http.NewServeMux()
	mux.Handle("GET "+ClientPath, n.edge.Handler())
	n.health(mux)
	n.clients = n.server(mux)
	// Also for the body and the answer of a request that does not become a connection; the upgrade lifts them.
	n.clients.ReadTimeout, n.clients.WriteTimeout = headerTime, headerTime
	n.run(n.clients, n.listener)
	if n.adminLn != nil {
		n.admin = n.server(n.adminHandler())
		n.run(n.admin, n.adminLn)
	}
}

func (n *Node) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    headerSize,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
}

func (n *Node) run(s *http.Server, ln net.Listener) {
	n.servers.Go(func() {
		if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("serve on %s: %w", ln.Addr(), err))
		}
	})
}
