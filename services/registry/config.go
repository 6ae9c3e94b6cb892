package registry

import (
	"errors"
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Policy says how an instance is chosen for a request without a key.
type Policy string

// The policies.
const (
	Hash             Policy = "hash"              // by the client's id: the same client, the same instance
	LeastConnections Policy = "least-connections" // the one with the fewest users
)

// DefaultClass is the class of requests that name none.
const DefaultClass = "default"

// Gateway is an address at which clients can connect to any cluster.
type Gateway struct {
	Cluster contracts.ClusterName // where it stands
	URL     string                // ws:// or wss://; or tcp:// or tls://, for clients over raw TCP
}

// Config is what a registry is told. Start from [DefaultConfig].
type Config struct {
	Classes  map[string]Policy // by the name of the class; there is one for [DefaultClass]
	Zone     contracts.Zone    // preferred for requests that name none; empty: no preference
	Gateways []Gateway         // what clients are given, those for their transport; those of the ticket's cluster first
	Direct   bool              // instead: the instances' own addresses

	Poll time.Duration // how often the fleet is read
	Hold time.Duration // how long an update that loses more than half the fleet is not acted on

	Rate  float64 // requests a second for one client; 0 is no limit
	Burst int     // requests for one client at once

	Origins []string // web pages whose scripts may ask, exact (`https://app.example.org`); `*` is all. Others' are refused

	Anonymous bool              // take a caller without token or API key at its word: for development only
	Backoff   contracts.Backoff // what clients are told
}

// DefaultConfig returns the settings of a production registry; what is missing must be given.
func DefaultConfig() Config {
	return Config{
		Classes: map[string]Policy{DefaultClass: LeastConnections},
		Poll:    500 * time.Millisecond,
		Hold:    10 * time.Second,
		Rate:    1,
		Burst:   10,
		Backoff: contracts.Backoff{FirstMS: 1000, BaseMS: 250, CapMS: 30_000},
	}
}

// ErrConfig is wrapped by every error about a [Config].
var ErrConfig = errors.New("configuration")

// Validate tells in one sentence what is missing or wrong.
func (c *Config) Validate() error {
	if _, ok := c.Classes[DefaultClass]; !ok {
		return fmt.Errorf("%w: policy: there is none for the class %s", ErrConfig, DefaultClass)
	}
	for class, p := range c.Classes {
		if _, err := contracts.ParseClass(class); err != nil {
			return fmt.Errorf("%w: policy: the class: %w", ErrConfig, err)
		}
		if p != Hash && p != LeastConnections {
			return fmt.Errorf("%w: policy: %q is neither %s nor %s", ErrConfig, p, Hash, LeastConnections)
		}
	}
	if c.Zone != "" {
		if _, err := contracts.ParseZone(c.Zone); err != nil {
			return fmt.Errorf("%w: default-zone: %w", ErrConfig, err)
		}
	}
	switch {
	case c.Direct && len(c.Gateways) > 0:
		return fmt.Errorf("%w: clients are sent to gateways or, with direct, past them: not both", ErrConfig)
	case !c.Direct && len(c.Gateways) == 0:
		return fmt.Errorf("%w: no gateway: give the addresses of the gateways, or direct to send clients to the edges themselves", ErrConfig)
	case c.Poll <= 0 || c.Hold < 0:
		return fmt.Errorf("%w: poll must be positive, and hold not negative", ErrConfig)
	case c.Rate < 0 || c.Rate > 0 && c.Burst < 1:
		return fmt.Errorf("%w: client-rate must not be negative, and client-burst at least 1", ErrConfig)
	}
	if b := c.Backoff; b.FirstMS < 1 || b.BaseMS < 1 || b.CapMS < b.FirstMS || b.CapMS < b.BaseMS {
		return fmt.Errorf("%w: backoff-first and backoff-base must be at least 1ms, and backoff-cap not less than either", ErrConfig)
	}
	for _, g := range c.Gateways {
		if _, err := contracts.ParseClusterName(g.Cluster); err != nil {
			return fmt.Errorf("%w: gateway: the cluster: %w", ErrConfig, err)
		}
		check := contracts.CheckNodeURL
		if contracts.TransportOf(g.URL) == contracts.RawTCP {
			check = contracts.CheckNodeTCP
		}
		if err := check(g.URL); err != nil {
			return fmt.Errorf("%w: gateway of cluster %s: %w", ErrConfig, g.Cluster, err)
		}
	}
	return nil
}
