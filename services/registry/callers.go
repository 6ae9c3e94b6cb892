package registry

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/beeline-rt/beeline/contracts"
)

// BackendHeader carries the API key of a backend that asks for its clients.
const BackendHeader = "Beeline-Api-Key"

// maxAPIKey bounds what is hashed for a stranger.
const maxAPIKey = 512

// APIKey is the SHA-256 of a backend's key: the key itself is nowhere on the server. A key must be random and long, since
// nothing slows down whoever guesses at a hash.
type APIKey [sha256.Size]byte

// ParseAPIKey reads the hash of a key, as 64 hexadecimal digits. Its error does not repeat it: it may be the key.
func ParseAPIKey(s string) (k APIKey, err error) {
	b, err := hex.DecodeString(strings.TrimSpace(s))
	if err != nil || len(b) != len(k) {
		return k, fmt.Errorf("%w: api-key: it must be the SHA-256 of the key, as 64 hexadecimal digits", ErrConfig)
	}
	return APIKey(b), nil
}

// caller is who asks.
type caller struct {
	client  contracts.ClientID // of a token
	backend bool               // may ask for anybody
}

// identify finds out who asks.
func (r *Registry) identify(h http.Header) (caller, *contracts.Error) {
	keys, tokens := h.Values(BackendHeader), h.Values("Authorization")
	switch {
	case len(keys)+len(tokens) > 1:
		return caller{}, refusal(contracts.CodeBadRequest, "either a token or an API key, and one of them")
	case len(keys) == 1:
		if len(keys[0]) > maxAPIKey || !r.knows(keys[0]) {
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

// knows compares with every key, so that time tells nothing.
func (r *Registry) knows(key string) bool {
	sum := sha256.Sum256([]byte(key))
	found := 0
	for _, k := range r.opts.APIKeys {
		found |= subtle.ConstantTimeCompare(sum[:], k[:])
	}
	return found == 1
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
