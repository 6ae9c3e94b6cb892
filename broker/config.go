package broker

import "crypto/tls"

// Config says how to reach NATS.
type Config struct {
	URLs      []string // nats://host:port or tls://host:port
	CredsFile string   // a NATS credentials file; empty: none
	TLS       *tls.Config
	Name      string // shown in the server's connection list
}
