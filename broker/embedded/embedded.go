// Package embedded runs a NATS server inside this process: for `beeline dev`, for tests, and for a small installation
// that does not want another program. It does not connect to the server; that is what package broker is for.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// loopback is the only address that the server listens on: it asks nobody for a password.
const loopback = "127.0.0.1"

// readyWithin bounds how long a start may take; without JetStream it takes a few milliseconds.
const readyWithin = 10 * time.Second

// ErrStart is wrapped by every error of [Start].
var ErrStart = errors.New("start the embedded NATS server")

// Options say what to start. The zero value is a server on a free port, without JetStream.
type Options struct {
	// Port on 127.0.0.1; 0 or -1 picks a free one.
	Port int
	// StoreDir turns JetStream on and is where it stores. It belongs to this server alone.
	StoreDir string
	// DontListen leaves out TCP: only [Server.InProcessConn] leads to the server, which is what a test in fake time
	// needs (a goroutine in network I/O would stop the clock).
	DontListen bool
	// Name is shown in the server's monitoring and to its clients; empty picks one.
	Name string
	// LeafPort is where the servers of other clusters link to this one as leaf nodes; 0: nowhere. There is no way to learn
	// a port that the server picks, so it picks none.
	LeafPort int
	// LeafOf are the addresses, host:port, of the LeafPorts that this server links to. One end of a link has it. It
	// does not matter which, or whether the other one is there yet.
	LeafOf []string
}

// A link between clusters that is dead and not closed is noticed within three of leafPing; until then, messages for the
// other side wait in its buffer. NATS's default is 2 minutes.
const (
	leafPing  = time.Second
	leafRetry = time.Second
)

// Server is a running NATS server. Its methods are safe for concurrent use.
type Server struct {
	// Static after construction.
	nats *server.Server
	url  string
}

// Start returns a server that takes connections. Its error is [ErrStart], says why, and leaves nothing running.
func Start(o Options) (*Server, error) {
	options, err := o.server()
	if err != nil {
		return nil, err
	}
	n, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	var last lastError
	n.SetLogger(&last, false, false)
	n.Start()
	s := &Server{nats: n}
	if last.err() == nil && n.ReadyForConnections(readyWithin) {
		if !o.DontListen {
			s.url = n.ClientURL()
		}
		return s, nil
	}
	s.Shutdown()
	if err := last.err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	return nil, fmt.Errorf("%w: it was not ready within %v", ErrStart, readyWithin)
}

// server returns the options as NATS has them.
func (o Options) server() (*server.Options, error) {
	if o.Port < -1 || o.Port > 65535 {
		return nil, fmt.Errorf("%w: %d is not a port", ErrStart, o.Port)
	}
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if o.StoreDir != "" {
		if err := os.MkdirAll(o.StoreDir, 0o700); err != nil {
			return nil, fmt.Errorf("%w: make its store: %w", ErrStart, err)
		}
	}
	n := &server.Options{
		Host:       loopback,
		Port:       port,
		DontListen: o.DontListen,
		ServerName: o.Name,
		JetStream:  o.StoreDir != "",
		StoreDir:   o.StoreDir,
		NoLog:      true,
		NoSigs:     true,
	}
	if o.LeafPort != 0 || len(o.LeafOf) > 0 {
		n.PingInterval, n.MaxPingsOut = leafPing, 2
		n.LeafNode = server.LeafNodeOpts{Host: loopback, Port: o.LeafPort, NoAdvertise: true, ReconnectInterval: leafRetry}
	}
	for _, addr := range o.LeafOf {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("%w: the other end of a link: %w", ErrStart, err)
		}
		n.LeafNode.Remotes = append(n.LeafNode.Remotes, &server.RemoteLeafOpts{URLs: []*url.URL{{Scheme: "nats-leaf", Host: addr}}})
	}
	return n, nil
}

// URL is where clients connect over TCP, with the port in use; empty when the server does not listen.
func (s *Server) URL() string { return s.url }

// Subscriptions is how many subscriptions all clients of the server have together.
func (s *Server) Subscriptions() int { return int(s.nats.NumSubscriptions()) }

// InProcessConn returns a connection that is a pipe in memory. It makes a Server what nats.InProcessServer takes. Do not
// measure with it: flat out it is slower than TCP on loopback.
func (s *Server) InProcessConn() (net.Conn, error) {
	conn, err := s.nats.InProcessConn()
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server in process: %w", err)
	}
	return conn, nil
}

// Shutdown ends the server and returns when nothing of it runs any more. A second call does nothing.
func (s *Server) Shutdown() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}
