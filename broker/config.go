package broker

import (
	"crypto/tls"
	"log/slog"
	"net"
)

// Config says how to reach NATS.
type Config struct {
	URLs      []string // nats://host:port or tls://host:port
	CredsFile string   // a NATS credentials file; empty: none
	TLS       *tls.Config
	Name      string // shown in the server's connection list

	// InProcess, when set, is used in place of URLs: a server in this process, reached without a socket.
	InProcess interface{ InProcessConn() (net.Conn, error) }

	Logger *slog.Logger // nil: nothing is logged
}
