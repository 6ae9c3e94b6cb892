package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/presence"
)

// edgeCmd runs one edge. Every setting of a node is a flag, a variable and a name in the configuration file.
type edgeCmd struct {
	ClusterFlags clusterFlags   `embed:"" group:"cluster"`
	Clients      clientFlags    `embed:"" group:"clients"`
	Tokens       tokenFlags     `embed:"" group:"tokens"`
	Backends     backendFlags   `embed:"" group:"backends"`
	NATS         natsFlags      `embed:"" group:"nats"`
	Redis        redisFlags     `embed:"" group:"redis"`
	Limits       limitFlags     `embed:"" group:"limits"`
	Calls        callFlags      `embed:"" group:"calls"`
	Times        timeFlags      `embed:"" group:"times"`
	Operation    operationFlags `embed:"" group:"operation" set:"log_level=info"`
}

// Help is the text between the usage and the flags.
func (*edgeCmd) Help() string {
	return "Each setting can be given as a flag, as an environment variable (--max-frame is BEELINE_MAX_FRAME) or in the file" +
		" that --config names (max-frame: 64KiB). A flag wins over the environment, the environment over the file." +
		" Lists are repeated flags, or one value with commas.\n\n" +
		"The least that must be given: --node and --token-key, and where NATS and Redis are, if not on this machine."
}

// configFlag makes edgeCmd configurable.
func (*edgeCmd) configFlag() string { return "config" }

// BeforeResolve reads the configuration file; kong calls it.
func (*edgeCmd) BeforeResolve(ctx *kong.Context, s *settings) error { return s.load(ctx) }

// Run runs the edge until ctx ends or the node cannot go on.
func (c *edgeCmd) Run(ctx context.Context, p *process) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	cfg.Logger = c.Operation.Log.logger(p.stderr, p.terminal)
	if err := cfg.Validate(); err != nil {
		return explainConfig(err)
	}
	defer p.tuneCollector(context.WithoutCancel(ctx))()
	done := p.waiting("waiting for NATS and Redis")
	n, err := p.start(ctx, cfg)
	done()
	if err != nil {
		return explainConfig(fmt.Errorf("edge %s did not start: %w", cfg.Node, err))
	}
	fmt.Fprintf(p.stdout, "edge %s of cluster %s is ready: %s%s\n", cfg.Node, cfg.Cluster, n.URL(), tcpSuffix(n)+adminSuffix(n)+apiSuffix(n))
	select {
	case <-n.Done():
		err = fmt.Errorf("edge %s cannot go on: %w", cfg.Node, n.Err())
	case <-ctx.Done():
	}
	cfg.Logger.Info("stopping", slog.String("node", string(cfg.Node)))
	if p.terminal {
		fmt.Fprintf(p.stderr, "edge %s is stopping, within %v; once more to end at once\n", cfg.Node, cfg.DrainTime+cfg.StopTime)
	}
	// The node bounds its stop by itself.
	if stopErr := n.Stop(context.WithoutCancel(ctx)); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("edge %s did not stop cleanly: %w", cfg.Node, stopErr))
	}
	return err
}

// tcpSuffix names the address for raw TCP, if there is one.
func tcpSuffix(n runningNode) string {
	if raw, is := n.(interface{ TCPURL() string }); is && raw.TCPURL() != "" {
		return " " + raw.TCPURL()
	}
	return ""
}

// adminSuffix names the admin address, if there is one.
func adminSuffix(n runningNode) string {
	if n.AdminURL() == "" {
		return ""
	}
	return " admin " + n.AdminURL()
}

// apiSuffix names the address for backends, if there is one.
func apiSuffix(n runningNode) string {
	if a, has := n.(interface{ APIURL() string }); has && a.APIURL() != "" {
		return " api " + a.APIURL()
	}
	return ""
}

// explainConfig makes of an error about the configuration one of usage: what is wrong is what was given. Of a name that is taken it says what to do.
func explainConfig(err error) error {
	if errors.Is(err, node.ErrConfig) || errors.Is(err, presence.ErrConfig) {
		return usagef("%w (see beeline edge --help)", err)
	}
	if errors.Is(err, presence.ErrNodeTaken) {
		return fmt.Errorf("%w (stop that one, or give this edge another --node)", err)
	}
	return err
}

// config makes of the flags what a node is told.
func (c *edgeCmd) config() (node.Config, error) {
	if c.ClusterFlags.Node == "" {
		return node.Config{}, usagef("--node is missing: give this edge a name of its own, such as --node a1 (see beeline edge --help)")
	}
	cfg := node.DefaultConfig()
	cfg.Cluster = contracts.ClusterName(c.ClusterFlags.Cluster)
	cfg.Node = contracts.NodeID(c.ClusterFlags.Node)
	for _, p := range c.ClusterFlags.Peers {
		cfg.Peers = append(cfg.Peers, contracts.ClusterName(p))
	}
	cfg.Listen, cfg.Advertise = c.Clients.Listen, c.Clients.Advertise
	cfg.TCPListen, cfg.TCPAdvertise = c.Clients.TCPListen, c.Clients.TCPAdvertise
	cfg.Zone, cfg.Weight = contracts.Zone(c.Clients.Zone), c.Clients.Weight
	cfg.TLSCert, cfg.TLSKey = c.Clients.TLSCert, c.Clients.TLSKey
	if cfg.Admin = c.Operation.Admin; cfg.Admin == "none" {
		cfg.Admin = ""
	}
	cfg.Profiles = c.Operation.Profiles
	cfg.TokenKeys = c.Tokens.TokenKeys
	cfg.TokenIssuer, cfg.TokenAudience = c.Tokens.TokenIssuer, c.Tokens.TokenAudience
	cfg.AllowSend, cfg.AllowGroups, cfg.AllowWatch = c.Tokens.AllowSend, c.Tokens.AllowGroups, c.Tokens.AllowWatch
	cfg.Anonymous = c.Tokens.Anonymous
	cfg.LeaseTTL, cfg.LeaseRenewal = c.Times.LeaseTTL, c.Times.LeaseRenewal
	cfg.DrainTime, cfg.StopTime = c.Times.DrainTime, c.Times.StopTime
	cfg.Edge = c.edge()
	cfg.AllowCall = c.Tokens.AllowCall
	cfg.HookURL = c.Tokens.HookURL
	var err error
	if cfg.HookSecret, err = secret("hook-secret", c.Tokens.HookSecret, c.Tokens.HookSecretFile); err != nil {
		return node.Config{}, err
	}
	if cfg.Calls, err = c.Calls.config(); err != nil {
		return node.Config{}, err
	}
	b := c.Backends
	cfg.APIListen, cfg.APITLSCert, cfg.APITLSKey, cfg.APINATS = b.Listen, b.TLSCert, b.TLSKey, b.NATS
	cfg.EventsURL, cfg.Events = b.EventsURL, b.Events
	if cfg.APIKeys, err = readAPIKeys(b.Keys); err != nil {
		return node.Config{}, err
	}
	if cfg.EventsSecret, err = secret("events-secret", b.EventsSecret, b.SecretFile); err != nil {
		return node.Config{}, err
	}
	if cfg.ProxyTrust, err = parsePrefixes(c.Clients.ProxyTrust); err != nil {
		return node.Config{}, err
	}
	if cfg.NATS, err = c.NATS.config(); err != nil {
		return node.Config{}, err
	}
	if cfg.Redis, err = c.Redis.config(); err != nil {
		return node.Config{}, err
	}
	return cfg, nil
}

// edge makes of the flags what the node's edge is told.
func (c *edgeCmd) edge() edge.Config {
	l, t := c.Limits, c.Times
	return edge.Config{
		Origins:      c.Clients.Origins,
		Sessions:     edge.Sessions(c.Clients.Sessions),
		MaxFrame:     int(l.MaxFrame),
		MaxSessions:  l.MaxSessions,
		MaxPerClient: l.MaxPerClient,
		MaxAnonymous: l.MaxAnonymous,
		QueueBytes:   int(l.QueueBytes),
		WaitingBytes: int(l.WaitingBytes),
		Routes:       l.Routes,
		Groups:       l.MaxGroups,
		Watches:      l.MaxWatches,
		InFlight:     l.InFlight,
		Calls:        c.Calls.Calls,
		AuthTimeout:  t.AuthTimeout,
		Heartbeat:    t.Heartbeat,
		AckTimeout:   t.AckTimeout,
		Linger:       t.Linger,
		WriteTime:    t.WriteTime,
		MessageRate:  l.MessageRate,
		MessageBurst: l.MessageBurst,
		ByteRate:     float64(l.ByteRate),
		ByteBurst:    int(l.ByteBurst),
		RateStrikes:  l.RateStrikes,
	}
}

// config makes of the flags how NATS is reached.
func (f natsFlags) config() (broker.Config, error) {
	secure, err := f.TLS.config("nats-", false)
	if err != nil {
		return broker.Config{}, err
	}
	if f.Creds != "" {
		if _, err := os.Stat(f.Creds); err != nil {
			return broker.Config{}, usagef("--nats-creds: %w", err)
		}
	}
	return broker.Config{URLs: f.URLs, CredsFile: f.Creds, TLS: secure, Name: f.Name}, nil
}

// parsePrefixes reads networks; an address alone is the network of just itself.
func parsePrefixes(list []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range list {
		if !strings.Contains(text, "/") {
			if addr, err := netip.ParseAddr(text); err == nil {
				prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
				continue
			}
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, usagef("--proxy-trust: %q is neither an address nor a network such as 10.0.0.0/8", text)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}
