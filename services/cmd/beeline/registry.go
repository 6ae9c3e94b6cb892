package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/registry"
	"github.com/beeline-rt/beeline/services/registryserver"
)

// registryCmd runs one registry. Every setting is a flag, a variable and a name in the configuration file.
type registryCmd struct {
	Callers   callerFlags            `embed:"" group:"callers"`
	Tickets   ticketFlags            `embed:"" group:"tickets"`
	Placement placementFlags         `embed:"" group:"placement"`
	Fleet     fleetFlags             `embed:"" group:"fleet"`
	Operation registryOperationFlags `embed:"" group:"operation" set:"log_level=info"`
}

// Help is the text between the usage and the flags.
func (*registryCmd) Help() string {
	return "A client asks POST /v1/connections and is given addresses to connect to, with a ticket in each, for 60 seconds. Any number" +
		" of registries can run at once: they keep nothing, and need not know of each other.\n\n" +
		"Each setting can be given as a flag, as an environment variable (--ticket-key is BEELINE_TICKET_KEY) or in the file" +
		" that --config names (ticket-key: \"@ticket.key\"). A flag wins over the environment, the environment over the file." +
		" Lists are repeated flags, or one value with commas.\n\n" +
		"The least that must be given: --ticket-key, --gateway or --direct, --token-key or --api-key, and where Redis is, if not on this machine."
}

// configFlag makes registryCmd configurable.
func (*registryCmd) configFlag() string { return "config" }

// BeforeResolve reads the configuration file; kong calls it.
func (*registryCmd) BeforeResolve(ctx *kong.Context, s *settings) error { return s.load(ctx) }

// Run runs the registry until ctx ends or it cannot go on.
func (c *registryCmd) Run(ctx context.Context, p *process) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	cfg.Logger = c.Operation.Log.logger(p.stderr, p.terminal)
	if err := cfg.Validate(); err != nil {
		return explainRegistry(err)
	}
	done := p.waiting("waiting for Redis")
	s, err := p.startRegistry(ctx, cfg)
	done()
	if err != nil {
		return explainRegistry(fmt.Errorf("the registry did not start: %w", err))
	}
	fmt.Fprintf(p.stdout, "registry of cluster %s is ready: %s%s\n", cfg.Cluster, s.URL(), adminSuffix(s))
	select {
	case <-s.Done():
		err = fmt.Errorf("the registry cannot go on: %w", s.Err())
	case <-ctx.Done():
	}
	cfg.Logger.Info("stopping")
	// It bounds its stop by itself.
	if stopErr := s.Stop(context.WithoutCancel(ctx)); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("the registry did not stop cleanly: %w", stopErr))
	}
	return err
}

func explainRegistry(err error) error {
	if errors.Is(err, registryserver.ErrConfig) || errors.Is(err, presence.ErrConfig) {
		return usagef("%w (see beeline registry --help)", err)
	}
	return err
}

// config makes of the flags what a registry is told.
func (c *registryCmd) config() (registryserver.Config, error) {
	none := registryserver.Config{}
	cfg := registryserver.DefaultConfig()
	cfg.Cluster = contracts.ClusterName(c.Fleet.Cluster)
	cfg.Listen, cfg.TLSCert, cfg.TLSKey = c.Callers.Listen, c.Callers.TLSCert, c.Callers.TLSKey
	if cfg.Admin = c.Operation.Admin; cfg.Admin == "none" {
		cfg.Admin = ""
	}
	cfg.TokenKeys, cfg.TokenIssuer, cfg.TokenAudience = c.Callers.TokenKeys, c.Callers.TokenIssuer, c.Callers.TokenAudience
	cfg.APIKeys, cfg.AllowList, cfg.HookURL = c.Callers.APIKeys, c.Callers.AllowList, c.Callers.HookURL
	cfg.StopTime = c.Operation.StopTime
	var err error
	if cfg.HookSecret, err = secret("hook-secret", c.Callers.HookSecret, c.Callers.HookSecretFile); err != nil {
		return none, err
	}
	if cfg.TicketKeys, err = ticketKeys(c.Tickets.TicketKeys); err != nil {
		return none, err
	}
	if cfg.Redis, err = c.Fleet.Redis.config(); err != nil {
		return none, err
	}
	if cfg.Others, err = c.Fleet.others(cfg.Redis); err != nil {
		return none, err
	}
	cfg.Registry, err = c.placement(cfg.Registry)
	return cfg, err
}

// placement makes of the flags how clients are placed.
func (c *registryCmd) placement(r registry.Config) (registry.Config, error) {
	r.Direct, r.Zone, r.Hold, r.Poll = c.Placement.Direct, contracts.Zone(c.Placement.Zone), c.Placement.Hold, c.Fleet.Poll
	r.Origins = c.Callers.Origins
	r.Rate, r.Burst, r.Anonymous = c.Callers.ClientRate, c.Callers.ClientBurst, c.Callers.Anonymous
	b := c.Placement.Backoff
	r.Backoff = contracts.Backoff{FirstMS: b.First.Milliseconds(), BaseMS: b.Base.Milliseconds(), CapMS: b.Cap.Milliseconds()}
	for _, text := range c.Placement.Gateways {
		cluster, url, found := strings.Cut(text, "=")
		if !found {
			return r, usagef("--gateway: %q is not of the form CLUSTER=URL, such as a=wss://a.example.org/v1/ws", text)
		}
		r.Gateways = append(r.Gateways, registry.Gateway{Cluster: contracts.ClusterName(cluster), URL: url})
	}
	given := map[string]bool{}
	for _, text := range c.Placement.Policies {
		class, policy, found := strings.Cut(text, "=")
		if !found {
			class, policy = registry.DefaultClass, text
		}
		if given[class] {
			return r, usagef("--policy: there are two for the class %q", class)
		}
		given[class] = true
		r.Classes[class] = registry.Policy(policy)
	}
	return r, nil
}

// others are the Redis servers of other clusters, reached as the first.
func (f *fleetFlags) others(like presence.Redis) (map[contracts.ClusterName]presence.Redis, error) {
	all := map[contracts.ClusterName]presence.Redis{}
	for _, text := range f.Others {
		name, addr, found := strings.Cut(text, "=")
		if !found || addr == "" {
			return nil, usagef("--cluster-redis: %q is not of the form CLUSTER=ADDR, such as b=10.0.0.2:6379", text)
		}
		r := like
		r.Addrs = append(all[contracts.ClusterName(name)].Addrs, addr)
		all[contracts.ClusterName(name)] = r
	}
	return all, nil
}

// ticketKeys reads keys as given: @FILE, or base64: and the secret.
func ticketKeys(specs []string) ([]string, error) {
	var keys []string
	for i, spec := range specs {
		if path, isFile := strings.CutPrefix(spec, "@"); isFile {
			text, err := secret("ticket-key", "", path)
			if err != nil {
				return nil, err
			}
			keys = append(keys, text)
			continue
		}
		text, found := strings.CutPrefix(spec, "base64:")
		if !found { // which is not repeated: it may be the secret
			return nil, usagef("--ticket-key: number %d is neither @FILE nor base64: and a secret", i+1)
		}
		keys = append(keys, text)
	}
	return keys, nil
}
