package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/pires/go-proxyproto"

	"github.com/beeline-rt/beeline/services/httpserver"
)

// ClientPath is where clients connect.
const ClientPath = "/v1/ws"

// listen opens the listeners, so that a port in use is seen before anything else is touched.
func (n *Node) listen(ctx context.Context) error {
	clients := &n.http.Clients
	if clients.Listener = n.cfg.Listener; clients.Listener == nil {
		// Heartbeats find dead clients. TCP's own would take four system calls for each connection.
		if err := clients.Listen(ctx, net.ListenConfig{KeepAlive: -1}, "clients", n.cfg.Listen); err != nil {
			return err
		}
	}
	if len(n.cfg.ProxyTrust) > 0 {
		clients.Listener = &proxyproto.Listener{
			Listener: clients.Listener, ConnPolicy: proxyPolicy(n.cfg.ProxyTrust), ReadHeaderTimeout: httpserver.HeaderTime,
		}
	}
	if n.cfg.TLSCert != "" {
		if err := clients.Secure(n.cfg.TLSCert, n.cfg.TLSKey); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if err := n.listenAPI(ctx); err != nil {
		return err
	}
	return n.http.ListenAdmin(ctx, n.cfg.Admin)
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
	// The bound is also for the body and the answer of a request that does not become a connection; the upgrade lifts it.
	n.http.Serve(&n.http.Clients, mux, httpserver.HeaderTime)
	if n.http.API.Listener != nil {
		n.http.Serve(&n.http.API, n.api.Handler(), apiTime)
	}
	if n.http.Admin.Listener != nil {
		n.http.Serve(&n.http.Admin, n.adminHandler(), 0) // a profile takes as long as it is asked to
	}
}
