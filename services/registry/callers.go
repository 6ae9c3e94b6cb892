package registry

import (
	"net/http"
	"strings"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/apikey"
)

// caller is who asks.
type caller struct {
	client  contracts.ClientID // of a token
	backend bool               // may ask for anybody
}

// identify finds out who asks.
func (r *Registry) identify(h http.Header) (caller, *contracts.Error) {
	keys, tokens := apikey.In(h), h.Values("Authorization")
	switch {
	case len(keys)+len(tokens) > 1:
		return caller{}, refusal(contracts.CodeBadRequest, "either a token or an API key, and one of them")
	case len(keys) == 1:
		if apikey.Find(keys[0], r.opts.APIKeys) < 0 {
			return caller{}, refusal(contracts.CodeUnauthorized, "no such API key")
		}
		return caller{backend: true}, nil
	case len(tokens) == 1:
		scheme, token, _ := strings.Cut(tokens[0], " ")
		if !strings.EqualFold(scheme, "Bearer") || r.opts.Verifier == nil || len(token) > contracts.MaxTokenLength {
			return caller{}, refusal(contracts.CodeUnauthorized, "not a token that this server can check")
		}
		client, err := r.opts.Verifier.Verify(token)
		if err != nil {
			return caller{}, refusal(contracts.CodeUnauthorized, err.Error()) // which says what is wrong, and quotes nothing
		}
		return caller{client: client}, nil
	case r.cfg.Anonymous:
		return caller{backend: true}, nil
	}
	return caller{}, refusal(contracts.CodeUnauthorized, "a token or an API key is needed")
}

// resolve says for which client the caller asks.
func (c caller) resolve(req *contracts.ConnectionRequest) *contracts.Error {
	switch {
	case c.backend && req.Client == "":
		return refusal(contracts.CodeBadRequest, "client is needed: who is to connect")
	case c.backend:
	case req.Client == "":
		req.Client = c.client
	case req.Client != c.client:
		return refusal(contracts.CodeForbidden, "the token is another client's")
	}
	return nil
}
