package node

import (
	"context"
	"fmt"
	"net"
	"net/http"

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
	clients.TrustProxies(n.cfg.ProxyTrust)
	if n.cfg.TLSCert != "" {
		if err := clients.Secure(n.cfg.TLSCert, n.cfg.TLSKey); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if err := n.listenTCP(ctx); err != nil {
		return err
	}
	if err := n.listenAPI(ctx); err != nil {
		return err
	}
	return n.http.ListenAdmin(ctx, n.cfg.Admin)
}

// listenTCP opens the listener for clients over raw TCP, if there is to be one.
func (n *Node) listenTCP(ctx context.Context) error {
	if n.cfg.TCPListen == "" {
		return nil
	}
	if err := n.http.TCP.Listen(ctx, net.ListenConfig{KeepAlive: -1}, "clients over raw TCP", n.cfg.TCPListen); err != nil {
		return err
	}
	n.http.TCP.TrustProxies(n.cfg.ProxyTrust)
	if n.cfg.TLSCert == "" {
		return nil
	}
	if err := n.http.TCP.SecureTCP(n.cfg.TLSCert, n.cfg.TLSKey); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// serve starts the servers on the listeners. ctx is for what backends ask for.
func (n *Node) serve(ctx context.Context) {
	mux := http.NewServeMux()
	mux.Handle("GET "+ClientPath, n.edge.Handler())
	n.health(mux)
	// The bound is also for the body and the answer of a request that does not become a connection; the upgrade lifts it.
	n.http.Serve(&n.http.Clients, mux, httpserver.HeaderTime)
	if n.http.TCP.Listener != nil {
		n.http.ServeTCP(n.edge.TakeTCP)
	}
	if n.http.API.Listener != nil {
		n.http.Serve(&n.http.API, n.api.Handler(ctx), apiTime)
	}
	if n.http.Admin.Listener != nil {
		n.http.Serve(&n.http.Admin, n.adminHandler(), 0) // a profile takes as long as it is asked to
	}
}
