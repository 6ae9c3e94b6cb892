package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/calls"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/presence"
)

// Config is all that a node is told. Start from [DefaultConfig].
type Config struct {
	Cluster contracts.ClusterName
	Node    contracts.NodeID // unique in the cluster; a second node with it refuses to start

	// Peers are the clusters whose clients this one's may talk to: their NATS is linked with NATS of this one.
	Peers []contracts.ClusterName

	Listen     string         // address for clients, host:port; port 0 picks one
	Admin      string         // address for metrics, health and profiles; empty: none. Keep it on loopback
	Advertise  string         // ws:// or wss:// address that other parties may hand to clients; empty: made from Listen
	Zone       contracts.Zone // where this node stands; the registry may prefer it for clients of that zone. May be empty
	Weight     int            // its share of clients, next to that of the others: 1 to contracts.MaxWeight
	TLSCert    string         // PEM file; with TLSKey it turns TLS on
	TLSKey     string         // PEM file
	ProxyTrust []netip.Prefix // peers from whom a PROXY protocol header is taken, and demanded
	Profiles   bool           // serve /debug/pprof on Admin

	TCPListen    string // address for clients over raw TCP, host:port; empty: none. TLS and ProxyTrust are as for Listen
	TCPAdvertise string // tcp:// or tls:// address where gateways and clients reach that; empty: made from TCPListen

	NATS  broker.Config
	Redis presence.Redis

	TokenKeys     []string // see token.ParseKeys
	TokenIssuer   string   // if set, what a token's iss must be
	TokenAudience string   // if set, what a token's aud must have
	AllowSend     []string // to whom clients may send whose token has no send claim: patterns, `*` for all; empty: to nobody
	AllowGroups   []string // which groups clients may join and publish to whose token has no groups claim; as AllowSend
	AllowCall     []string // which services clients may call whose token has no call claim; as AllowSend
	AllowWatch    []string // whose presence clients may watch whose token has no watch claim; as AllowSend
	Anonymous     bool     // a client may name itself without a token: for development only

	HookURL    string // asked for joins and watches that a token does not allow; empty: the token decides alone
	HookSecret string // signs what is asked

	APIListen  string   // address for backends, host:port; empty: none
	APINATS    bool     // answer backends over NATS, too
	APITLSCert string   // PEM file; with APITLSKey it turns TLS on there
	APITLSKey  string   // PEM file
	APIKeys    []APIKey // who may ask there, and for what

	EventsURL    string   // told what becomes of clients; empty: nobody is
	EventsSecret string   // signs what is told
	Events       []string // of what: some of [EventNames]

	Edge  edge.Config  // limits, times and policies of the clients' connections
	Calls calls.Config // how backend services are called

	LeaseTTL     time.Duration // zero: contracts.LeaseTTL
	LeaseRenewal time.Duration // zero: contracts.LeaseRenewal
	DrainTime    time.Duration // over how long clients are told to move when the node stops
	StopTime     time.Duration // after which a stop no longer waits for anything, counted from the drain's end

	Logger *slog.Logger // nil: nothing is logged

	// Listener, when set, is used in place of Listen: a test in fake time hands out pipes with it.
	Listener net.Listener
}

// DefaultConfig returns the settings of a production node, which refuses strangers: what is missing must be given.
func DefaultConfig() Config {
	return Config{
		Cluster:   "a",
		Listen:    "127.0.0.1:8080",
		Admin:     "127.0.0.1:9080",
		Weight:    1,
		NATS:      broker.Config{URLs: []string{"nats://127.0.0.1:4222"}},
		Redis:     presence.Redis{Addrs: []string{"127.0.0.1:6379"}},
		Events:    slices.Clone(EventNames),
		Edge:      edge.DefaultConfig(),
		Calls:     calls.DefaultConfig(),
		DrainTime: 10 * time.Second,
		StopTime:  10 * time.Second,
	}
}

// Validate tells in one sentence what is missing or wrong; the error wraps [ErrConfig].
func (c *Config) Validate() error {
	if _, err := contracts.ParseClusterName(c.Cluster); err != nil {
		return fmt.Errorf("%w: cluster: %w", ErrConfig, err)
	}
	if _, err := contracts.ParseNodeID(c.Node); err != nil {
		return fmt.Errorf("%w: node: %w (give each edge a name of its own, of a-z, 0-9 and -)", ErrConfig, err)
	}
	for i, p := range c.Peers {
		if _, err := contracts.ParseClusterName(p); err != nil {
			return fmt.Errorf("%w: peer-cluster: %w", ErrConfig, err)
		}
		if p == c.Cluster || slices.Contains(c.Peers[:i], p) {
			return fmt.Errorf("%w: peer-cluster: %s is named twice, or is this node's own cluster", ErrConfig, p)
		}
	}
	if c.Zone != "" {
		if _, err := contracts.ParseZone(c.Zone); err != nil {
			return fmt.Errorf("%w: zone: %w", ErrConfig, err)
		}
	}
	if c.Weight < 1 || c.Weight > contracts.MaxWeight {
		return fmt.Errorf("%w: weight must be 1 to %d", ErrConfig, contracts.MaxWeight)
	}
	if c.Advertise != "" {
		if err := contracts.CheckNodeURL(c.Advertise); err != nil {
			return fmt.Errorf("%w: advertise: %w", ErrConfig, err)
		}
	}
	if err := c.validateTCP(); err != nil {
		return err
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("%w: tls-cert and tls-key go together", ErrConfig)
	}
	if len(c.TokenKeys) == 0 && !c.Anonymous {
		return fmt.Errorf("%w: no token-key: without one nobody could log in", ErrConfig)
	}
	if c.DrainTime < 0 || c.StopTime <= 0 {
		return fmt.Errorf("%w: drain-time must not be negative, stop-time must be positive", ErrConfig)
	}
	if err := c.validateAPI(); err != nil {
		return err
	}
	if err := c.validateEvents(); err != nil {
		return err
	}
	if err := c.Edge.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := c.Calls.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

func (c *Config) validateTCP() error {
	switch {
	case c.TCPAdvertise == "":
		return nil
	case c.TCPListen == "":
		return fmt.Errorf("%w: tcp-advertise goes with tcp-listen", ErrConfig)
	}
	if err := contracts.CheckNodeTCP(c.TCPAdvertise); err != nil {
		return fmt.Errorf("%w: tcp-advertise: %w", ErrConfig, err)
	}
	return nil
}

// ErrConfig is wrapped by every error about a [Config].
var ErrConfig = errors.New("configuration")
