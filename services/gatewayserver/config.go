package gatewayserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gateway"
	"github.com/beeline-rt/beeline/services/presence"
)

// Config is all that a gateway's process is told. Start from [DefaultConfig].
type Config struct {
	Redis presence.Redis // of the gateway's own cluster: which edges live, and what they report

	Listen  string // address for clients, host:port; port 0 picks one
	Admin   string // address for metrics and health; empty: none. Keep it on loopback
	TLSCert string // PEM file; with TLSKey it turns TLS on
	TLSKey  string // PEM file

	ProxyTrust []netip.Prefix // peers from whom a PROXY protocol header is taken, and demanded

	TicketKeys []string // one or two, in base64, as the registry has them. See contracts.ParseTicketSecret

	Gateway gateway.Config

	Poll      time.Duration // how often the fleet is read
	Hold      time.Duration // how long it is not believed that more than half of it is gone at once
	DrainTime time.Duration // over how long clients are cut off when the gateway stops

	// Listener, when set, is used in place of Listen: whoever starts several that know each other opens them first.
	Listener net.Listener

	Logger *slog.Logger // nil: nothing is logged
}

// DefaultConfig returns the settings of a production gateway; what is missing must be given.
func DefaultConfig() Config {
	return Config{
		Redis:     presence.Redis{Addrs: []string{"127.0.0.1:6379"}},
		Listen:    "127.0.0.1:8060",
		Admin:     "127.0.0.1:9060",
		Gateway:   gateway.DefaultConfig(),
		Poll:      500 * time.Millisecond,
		Hold:      10 * time.Second,
		DrainTime: 10 * time.Second,
	}
}

// ErrConfig is wrapped by every error about a [Config].
var ErrConfig = errors.New("configuration")

// Validate tells in one sentence what is missing or wrong; the error wraps [ErrConfig].
func (c *Config) Validate() error {
	if _, err := contracts.ParseClusterName(c.Gateway.Cluster); err != nil {
		return fmt.Errorf("%w: cluster: %w", ErrConfig, err)
	}
	for cluster, peers := range c.Gateway.Peers {
		if _, err := contracts.ParseClusterName(cluster); err != nil {
			return fmt.Errorf("%w: peer: %w", ErrConfig, err)
		}
		if cluster == c.Gateway.Cluster {
			return fmt.Errorf("%w: peer: %s is this gateway's own cluster", ErrConfig, cluster)
		}
		for _, p := range peers {
			if _, _, err := net.SplitHostPort(p); err != nil {
				return fmt.Errorf("%w: peer: %q is not host:port", ErrConfig, p)
			}
		}
	}
	switch g := c.Gateway; {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fmt.Errorf("%w: tls-cert and tls-key go together", ErrConfig)
	case len(c.TicketKeys) == 0:
		return fmt.Errorf("%w: no ticket-key: without one nobody could be let in", ErrConfig)
	case g.MaxConnections < 1 || g.AnswerTime <= 0 || g.StallTime <= 0:
		return fmt.Errorf("%w: max-connections, answer-time and stall-time must be positive", ErrConfig)
	case c.Poll <= 0 || c.Hold < 0 || c.DrainTime < 0:
		return fmt.Errorf("%w: poll must be positive, hold and drain-time not negative", ErrConfig)
	}
	return nil
}
