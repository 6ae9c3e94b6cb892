package node

import (
	"errors"
	"fmt"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/token"
)

var (
	errNeedToken  = errors.New("a token is needed: this server does not take names without one")
	errNoKeys     = errors.New("this server has no token keys: log in by name")
	errNameNeeded = errors.New("a client name is needed")
)

// authenticator is the edge's way to tokens.
type authenticator struct {
	verifier  *token.Verifier // nil: no keys
	anonymous bool
	send      edge.Permissions // for clients whose token has no send claim; one for all of them, as are the others
	watch     edge.Permissions // for clients whose token has no watch claim
	call      edge.Permissions // for clients whose token has no call claim
	groups    edge.Permissions // for clients whose token has no groups claim
}

var _ edge.Authenticator = (*authenticator)(nil)

func newAuthenticator(cfg Config) (*authenticator, error) {
	send, err := token.NewPatterns(cfg.AllowSend...)
	if err != nil {
		return nil, fmt.Errorf("%w: allow-send: %w", ErrConfig, err)
	}
	groups, err := token.NewPatterns(cfg.AllowGroups...)
	if err != nil {
		return nil, fmt.Errorf("%w: allow-groups: %w", ErrConfig, err)
	}
	watch, err := token.NewPatterns(cfg.AllowWatch...)
	if err != nil {
		return nil, fmt.Errorf("%w: allow-watch: %w", ErrConfig, err)
	}
	call, err := token.NewPatterns(cfg.AllowCall...)
	if err != nil {
		return nil, fmt.Errorf("%w: allow-call: %w", ErrConfig, err)
	}
	a := &authenticator{anonymous: cfg.Anonymous, send: send, groups: groups, watch: watch, call: call}
	if len(cfg.TokenKeys) == 0 {
		return a, nil
	}
	keys, err := token.ParseKeys(cfg.TokenKeys)
	if err != nil {
		return nil, fmt.Errorf("%w: token-key: %w", ErrConfig, err)
	}
	a.verifier, err = token.NewVerifier(keys, token.Options{
		Issuer: cfg.TokenIssuer, Audience: cfg.TokenAudience,
		ValidClient: func(s string) error { _, err := contracts.ParseClientID(s); return err },
	})
	if err != nil {
		return nil, fmt.Errorf("%w: token-key: %w", ErrConfig, err)
	}
	return a, nil
}

// Token verifies a token.
func (a *authenticator) Token(s string) (edge.Identity, error) {
	if a.verifier == nil {
		return edge.Identity{}, errNoKeys
	}
	c, err := a.verifier.Verify(s)
	if err != nil {
		return edge.Identity{}, err
	}
	return edge.Identity{
		Client: contracts.ClientID(c.Client), Expires: c.Expires,
		Send: or(c.Send, a.send), Groups: or(c.Groups, a.groups), Watch: or(c.Watch, a.watch), Call: or(c.Call, a.call),
	}, nil
}

// or returns what a token says, or if it says nothing, the server's default.
func or(claim token.Patterns, fallback edge.Permissions) edge.Permissions {
	if claim.Present() {
		return claim
	}
	return fallback
}

// Name takes a client at its word, in development.
func (a *authenticator) Name(c contracts.ClientID) (edge.Identity, error) {
	switch {
	case !a.anonymous:
		return edge.Identity{}, errNeedToken
	case c == "":
		return edge.Identity{}, errNameNeeded
	}
	return edge.Identity{Client: c, Send: a.send, Groups: a.groups, Watch: a.watch, Call: a.call}, nil
}
