package registryserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/registry"
)

// Config is all that a registry's process is told. Start from [DefaultConfig].
type Config struct {
	Cluster contracts.ClusterName                    // the registry's own: its Redis must be there at the start
	Redis   presence.Redis                           // of that cluster
	Others  map[contracts.ClusterName]presence.Redis // of the others, which may be away

	Listen  string // address for callers, host:port; port 0 picks one
	Admin   string // address for metrics and health; empty: none. Keep it on loopback
	TLSCert string // PEM file; with TLSKey it turns TLS on
	TLSKey  string // PEM file

	TicketKeys []string // one or two, in base64: the first signs. See contracts.ParseTicketSecret

	TokenKeys     []string // see token.ParseKeys; empty: nobody asks with a token
	TokenIssuer   string   // if set, what a token's iss must be
	TokenAudience string   // if set, what a token's aud must have
	APIKeys       []string // SHA-256 of the backends' keys, in hexadecimal
	AllowList     string   // file with the clients that may connect; empty: all
	HookURL       string   // asked whether a client may connect; empty: nobody is
	HookSecret    string   // signs what is asked

	Registry registry.Config // how clients are placed

	StopTime time.Duration // how long a stop waits for requests under way
	Logger   *slog.Logger  // nil: nothing is logged

	// Listener, when set, is used in place of Listen: a port that is to be free is not looked for and then taken by others.
	Listener net.Listener
}

// DefaultConfig returns the settings of a production registry; what is missing must be given.
func DefaultConfig() Config {
	return Config{
		Cluster:  "a",
		Redis:    presence.Redis{Addrs: []string{"127.0.0.1:6379"}},
		Listen:   "127.0.0.1:8070",
		Admin:    "127.0.0.1:9070",
		Registry: registry.DefaultConfig(),
		StopTime: 5 * time.Second,
	}
}

// ErrConfig is wrapped by every error about a [Config].
var ErrConfig = errors.New("configuration")

// Validate tells in one sentence what is missing or wrong; the error wraps [ErrConfig].
func (c *Config) Validate() error {
	if _, err := contracts.ParseClusterName(c.Cluster); err != nil {
		return fmt.Errorf("%w: cluster: %w", ErrConfig, err)
	}
	for other := range c.Others {
		if _, err := contracts.ParseClusterName(other); err != nil {
			return fmt.Errorf("%w: cluster-redis: %w", ErrConfig, err)
		}
		if other == c.Cluster {
			return fmt.Errorf("%w: cluster-redis: %s is this registry's own cluster: its Redis is redis-addr", ErrConfig, other)
		}
	}
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fmt.Errorf("%w: tls-cert and tls-key go together", ErrConfig)
	case len(c.TicketKeys) == 0:
		return fmt.Errorf("%w: no ticket-key: without one nothing could be signed", ErrConfig)
	case len(c.TokenKeys) == 0 && len(c.APIKeys) == 0 && !c.Registry.Anonymous:
		return fmt.Errorf("%w: neither token-key nor api-key: nobody could ask", ErrConfig)
	case c.StopTime <= 0:
		return fmt.Errorf("%w: stop-time must be positive", ErrConfig)
	}
	if err := c.Registry.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}
