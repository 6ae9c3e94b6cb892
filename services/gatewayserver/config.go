package gatewayserver

import (
	"context"
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

	Listen   string // address for clients, host:port; port 0 picks one
	Admin    string // address for metrics and health; empty: none. Keep it on loopback
	Profiles bool   // /debug/pprof on the admin address
	TLSCert  string // PEM file; with TLSKey it turns TLS on
	TLSKey   string // PEM file

	TCPListen string // address for clients over raw TCP; empty: none

	ProxyTrust []netip.Prefix // peers from whom a PROXY protocol header is taken, and demanded

	TicketKeys []string // one or two, in base64, as the registry has them. See contracts.ParseTicketSecret

	Gateway gateway.Config

	Poll      time.Duration // how often the fleet is read
	Hold      time.Duration // how long it is not believed that more than half of it is gone at once
	DrainTime time.Duration // over how long clients are cut off when the gateway stops

	// Listener, when set, is used in place of Listen, and TCPListener in place of TCPListen: whoever starts several that know each
	// other opens them first.
	Listener, TCPListener net.Listener
	// Dial connects to an instance or a peer; nil: the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

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

// minProbe keeps a gateway from asking so often that an answer on its way looks late.
const minProbe = 50 * time.Millisecond

// ErrConfig is wrapped by every error about a [Config].
var ErrConfig = errors.New("configuration")

// Validate tells in one sentence what is missing or wrong; the error wraps [ErrConfig].
func (c *Config) Validate() error {
	if _, err := contracts.ParseClusterName(c.Gateway.Cluster); err != nil {
		return fmt.Errorf("%w: cluster: %w", ErrConfig, err)
	}
	if err := errors.Join(c.validatePeers("peer", c.Gateway.Peers), c.validatePeers("tcp-peer", c.Gateway.TCPPeers)); err != nil {
		return err
	}
	switch g := c.Gateway; {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fmt.Errorf("%w: tls-cert and tls-key go together", ErrConfig)
	case len(c.TicketKeys) == 0:
		return fmt.Errorf("%w: no ticket-key: without one nobody could be let in", ErrConfig)
	case g.MaxConnections < 1 || g.AnswerTime <= 0 || g.StallTime <= 0:
		return fmt.Errorf("%w: max-connections, answer-time and stall-time must be positive", ErrConfig)
	case g.Probe < 0 || g.Probe > 0 && g.Probe < minProbe:
		return fmt.Errorf("%w: probe must be 0, which turns it off, or at least %v", ErrConfig, minProbe)
	case c.Poll <= 0 || c.Hold < 0 || c.DrainTime < 0:
		return fmt.Errorf("%w: poll must be positive, hold and drain-time not negative", ErrConfig)
	}
	return nil
}

// validatePeers checks the gateways that a setting names.
func (c *Config) validatePeers(setting string, all map[contracts.ClusterName][]string) error {
	for cluster, peers := range all {
		if _, err := contracts.ParseClusterName(cluster); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrConfig, setting, err)
		}
		if cluster == c.Gateway.Cluster {
			return fmt.Errorf("%w: %s: %s is this gateway's own cluster", ErrConfig, setting, cluster)
		}
		for _, p := range peers {
			if _, _, err := net.SplitHostPort(p); err != nil {
				return fmt.Errorf("%w: %s: %q is not host:port", ErrConfig, setting, p)
			}
		}
	}
	return nil
}
