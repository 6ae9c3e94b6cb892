package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/services/presence"
)

// gatewayCmd runs one gateway. Every setting is a flag, a variable and a name in the configuration file.
type gatewayCmd struct {
	Clients   gatewayClientFlags    `embed:"" group:"clients"`
	Tickets   ticketFlags           `embed:"" group:"tickets"`
	Behind    gatewayBehindFlags    `embed:"" group:"behind"`
	Operation gatewayOperationFlags `embed:"" group:"operation" set:"log_level=info"`
}

// gatewayGroups are the headings of `beeline gateway --help` that others do not have.
var gatewayGroups = []kong.Group{
	{Key: "behind", Title: "Behind it", Description: "The gateway learns from the Redis of its cluster which edges live, and where they are; a ticket names none. Edges must be reachable at the addresses that they advertise (ws:// and tcp://; by TLS at wss:// and tls://)."},
}

type gatewayClientFlags struct {
	Listen         string        `name:"listen" default:"${gateway_listen}" placeholder:"${default}" help:"Address for clients, host:port. Port 0 picks a free one; without a host it is every address of this machine."`
	TLSCert        string        `name:"tls-cert" placeholder:"FILE" help:"PEM file with the certificate; with --tls-key, clients use wss://."`
	TLSKey         string        `name:"tls-key" placeholder:"FILE" help:"PEM file with its key."`
	ProxyTrust     []string      `name:"proxy-trust" placeholder:"NET" help:"Balancer, or gateway of another cluster, as an address or 10.0.0.0/8, that puts a PROXY protocol header before each connection; from there it is demanded. Repeat it for more."`
	MaxConnections int           `name:"max-connections" default:"${gateway_connections}" placeholder:"${default}" help:"Clients at a time; more are refused, to come back later. Each takes two open files."`
	StallTime      time.Duration `name:"stall-time" default:"${gateway_stall}" placeholder:"${default}" help:"How long a side may take nothing of what waits for it."`

	TCPListen string `name:"tcp-listen" placeholder:"ADDR" help:"Address for clients over raw TCP, host:port; their first frame is the ticket. Not given: none."`
}

type gatewayBehindFlags struct {
	Cluster    string        `name:"cluster" default:"${cluster}" placeholder:"${default}" help:"Name of the cluster whose edges clients are connected with: a-z, 0-9 and -."`
	Peers      []string      `name:"peer" placeholder:"CLUSTER=ADDR" help:"Another cluster, and host:port of a gateway of it: clients whose ticket names that cluster are passed on there, or served here while it cannot be reached. Repeat it for more."`
	Proxy      bool          `name:"proxy-protocol" help:"Tell edges and peers the client's address with a PROXY protocol header. They must trust this gateway (--proxy-trust), and then demand it."`
	EdgeCA     string        `name:"edge-ca" placeholder:"FILE" help:"PEM file with the authorities that the certificates of edges may be from which advertise wss:// or tls://; they must be for the host in that address. Not given: those of this system."`
	AnswerTime time.Duration `name:"answer-time" default:"${gateway_answer}" placeholder:"${default}" help:"For an edge to take a client, TLS included, before the next one is tried."`
	Probe      time.Duration `name:"probe" default:"${gateway_probe}" placeholder:"${default}" help:"How often each edge is asked whether it is ready (/readyz where it advertises ws:// or wss://). One that says no, or does not answer twice, is passed over; when nothing else comes from it either, it hangs, and its clients are cut off to come back elsewhere, unless more than half of the edges are silent. Longer where edges that live may stand still; 0s turns it off."`
	Poll       time.Duration `name:"poll" default:"${gateway_poll}" placeholder:"${default}" help:"How often the fleet is read."`
	Hold       time.Duration `name:"hold" default:"${gateway_hold}" placeholder:"${default}" help:"How long the gateway does not believe that more than half of the edges are gone at once."`
	Redis      redisFlags    `embed:""`

	TCPPeers []string `name:"tcp-peer" placeholder:"CLUSTER=ADDR" help:"The same as --peer, for clients over raw TCP: where that gateway takes them in (its --tcp-listen)."`
}

type gatewayOperationFlags struct {
	Config    string        `name:"config" placeholder:"FILE" help:"YAML or JSON file with lines name: value; the names are those of these flags."`
	Admin     string        `name:"admin" default:"${gateway_admin}" placeholder:"${default}" help:"Address for /metrics, /healthz and /readyz, host:port; none turns it off. It asks for no password: keep it on loopback or in a private network."`
	Profiles  bool          `name:"profiles" help:"Serve /debug/pprof there too."`
	DrainTime time.Duration `name:"drain-time" default:"${gateway_drain}" placeholder:"${default}" help:"Over how long clients are cut off when the gateway stops, so that they do not all come back at once."`
	Log       logFlags      `embed:""`
}

// gatewayDefaults returns the defaults of the flags, which are those of the packages that they configure.
func gatewayDefaults() kong.Vars {
	d := gatewayserver.DefaultConfig()
	return kong.Vars{
		"gateway_listen":      d.Listen,
		"gateway_admin":       d.Admin,
		"gateway_drain":       d.DrainTime.String(),
		"gateway_probe":       d.Gateway.Probe.String(),
		"gateway_poll":        d.Poll.String(),
		"gateway_hold":        d.Hold.String(),
		"gateway_connections": strconv.Itoa(d.Gateway.MaxConnections),
		"gateway_answer":      d.Gateway.AnswerTime.String(),
		"gateway_stall":       d.Gateway.StallTime.String(),
	}
}

// Help is the text between the usage and the flags.
func (*gatewayCmd) Help() string {
	return "A client connects with the address that a registry gave it, which has a ticket in it. The gateway checks the ticket and connects" +
		" the client with the edge where the ticket's key belongs, or with its alternate; bytes then pass both ways untouched. Any" +
		" number of gateways can run at once.\n\n" +
		"Each setting can be given as a flag, as an environment variable (--ticket-key is BEELINE_TICKET_KEY) or in the file" +
		" that --config names. A flag wins over the environment, the environment over the file.\n\n" +
		"The least that must be given: --ticket-key, the same as the registry's, and where Redis is, if not on this machine."
}

// configFlag makes gatewayCmd configurable.
func (*gatewayCmd) configFlag() string { return "config" }

// BeforeResolve reads the configuration file; kong calls it.
func (*gatewayCmd) BeforeResolve(ctx *kong.Context, s *settings) error { return s.load(ctx) }

// Run runs the gateway until ctx ends or it cannot go on.
func (c *gatewayCmd) Run(ctx context.Context, p *process) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	cfg.Logger = c.Operation.Log.logger(p.stderr, p.terminal)
	defer p.tuneCollector(context.WithoutCancel(ctx))()
	done := p.waiting("waiting for Redis")
	s, err := p.startGateway(ctx, cfg)
	done()
	if err != nil {
		if errors.Is(err, gatewayserver.ErrConfig) || errors.Is(err, presence.ErrConfig) {
			return usagef("%w (see beeline gateway --help)", err)
		}
		return fmt.Errorf("the gateway did not start: %w", err)
	}
	fmt.Fprintf(p.stdout, "gateway of cluster %s is ready: %s%s%s\n", cfg.Gateway.Cluster, s.URL(), tcpSuffix(s), adminSuffix(s))
	select {
	case <-s.Done():
		err = fmt.Errorf("the gateway cannot go on: %w", s.Err())
	case <-ctx.Done():
	}
	cfg.Logger.Info("stopping")
	// It bounds its stop by itself.
	if stopErr := s.Stop(context.WithoutCancel(ctx)); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("the gateway did not stop cleanly: %w", stopErr))
	}
	return err
}

// config makes of the flags what a gateway is told.
func (c *gatewayCmd) config() (gatewayserver.Config, error) {
	none := gatewayserver.Config{}
	cfg := gatewayserver.DefaultConfig()
	cfg.Listen, cfg.TLSCert, cfg.TLSKey = c.Clients.Listen, c.Clients.TLSCert, c.Clients.TLSKey
	if cfg.Admin = c.Operation.Admin; cfg.Admin == "none" {
		cfg.Admin = ""
	}
	cfg.Profiles = c.Operation.Profiles
	cfg.DrainTime, cfg.Poll, cfg.Hold = c.Operation.DrainTime, c.Behind.Poll, c.Behind.Hold
	g := &cfg.Gateway
	g.Cluster, g.Proxy, g.AnswerTime = contracts.ClusterName(c.Behind.Cluster), c.Behind.Proxy, c.Behind.AnswerTime
	g.MaxConnections, g.StallTime, g.Probe = c.Clients.MaxConnections, c.Clients.StallTime, c.Behind.Probe
	cfg.TCPListen = c.Clients.TCPListen
	var err error
	if cfg.ProxyTrust, err = parsePrefixes(c.Clients.ProxyTrust); err != nil {
		return none, err
	}
	if g.Peers, err = peerAddresses("peer", c.Behind.Peers); err != nil {
		return none, err
	}
	if g.TCPPeers, err = peerAddresses("tcp-peer", c.Behind.TCPPeers); err != nil {
		return none, err
	}
	if c.Behind.EdgeCA != "" {
		if g.EdgeRoots, err = readPool(c.Behind.EdgeCA); err != nil {
			return none, usagef("--edge-ca: %w", err)
		}
	}
	if cfg.TicketKeys, err = ticketKeys(c.Tickets.TicketKeys); err != nil {
		return none, err
	}
	cfg.Redis, err = c.Behind.Redis.config()
	return cfg, err
}

// peerAddresses reads a list of CLUSTER=ADDR.
func peerAddresses(flag string, list []string) (map[contracts.ClusterName][]string, error) {
	peers := map[contracts.ClusterName][]string{}
	for _, text := range list {
		cluster, addr, found := strings.Cut(text, "=")
		if !found {
			return nil, usagef("--%s: %q is not of the form CLUSTER=ADDR, such as b=10.0.0.2:8060", flag, text)
		}
		name := contracts.ClusterName(cluster)
		peers[name] = append(peers[name], addr)
	}
	return peers, nil
}
