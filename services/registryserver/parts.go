package registryserver

import (
	"fmt"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/apikey"
	"github.com/beeline-rt/beeline/services/hook"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/registry"
	"github.com/beeline-rt/beeline/services/token"
)

// verifier is the registry's way to tokens.
type verifier struct{ tokens *token.Verifier }

var _ registry.Verifier = verifier{}

// Verify returns whose token it is.
func (v verifier) Verify(s string) (contracts.ClientID, error) {
	c, err := v.tokens.Verify(s)
	return contracts.ClientID(c.Client), err
}

// options makes of the configuration what a registry works with. It connects to nothing.
func (s *Server) options() (registry.Options, error) {
	o := registry.Options{Logger: s.log, Fleets: map[contracts.ClusterName]registry.Fleet{}}
	var err error
	if o.Secrets, err = contracts.ParseTicketSecrets(s.cfg.TicketKeys...); err != nil {
		return o, fmt.Errorf("%w: ticket-key: %w", ErrConfig, err)
	}
	if o.Verifier, err = s.verifier(); err != nil {
		return o, fmt.Errorf("%w: token-key: %w", ErrConfig, err)
	}
	for _, text := range s.cfg.APIKeys {
		key, err := apikey.Parse(text)
		if err != nil {
			return o, fmt.Errorf("%w: api-key: %w", ErrConfig, err)
		}
		o.APIKeys = append(o.APIKeys, key)
	}
	if s.cfg.AllowList != "" {
		if o.Allowed, err = registry.OpenAllowList(s.cfg.AllowList); err != nil {
			return o, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if s.cfg.HookURL != "" {
		if s.hook, err = hook.New(hook.Config{URL: s.cfg.HookURL, Secret: s.cfg.HookSecret}); err != nil {
			return o, fmt.Errorf("%w: hook-url: %w", ErrConfig, err)
		}
		o.Arbiter = s.hook
	}
	if err := s.readers(o.Fleets); err != nil {
		return o, err
	}
	return o, nil
}

// verifier returns nil if there are no keys.
func (s *Server) verifier() (registry.Verifier, error) {
	if len(s.cfg.TokenKeys) == 0 {
		return nil, nil //nolint:nilnil // then nobody asks with a token
	}
	keys, err := token.ParseKeys(s.cfg.TokenKeys)
	if err != nil {
		return nil, err
	}
	v, err := token.NewVerifier(keys, token.Options{
		Issuer: s.cfg.TokenIssuer, Audience: s.cfg.TokenAudience,
		ValidClient: func(s string) error { _, err := contracts.ParseClientID(s); return err },
	})
	if err != nil {
		return nil, err
	}
	return verifier{v}, nil
}

// readers makes a reader for each cluster.
func (s *Server) readers(into map[contracts.ClusterName]registry.Fleet) error {
	add := func(cluster contracts.ClusterName, r presence.Redis) (*presence.FleetReader, error) {
		reader, err := presence.NewFleetReader(r, cluster)
		if err != nil {
			return nil, fmt.Errorf("the Redis of cluster %s: %w", cluster, err)
		}
		s.fleets = append(s.fleets, reader)
		into[cluster] = reader
		return reader, nil
	}
	var err error
	if s.home, err = add(s.cfg.Cluster, s.cfg.Redis); err != nil {
		return err
	}
	for cluster, r := range s.cfg.Others {
		if _, err := add(cluster, r); err != nil {
			return err
		}
	}
	return nil
}
