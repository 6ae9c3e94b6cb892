package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/beeline-rt/beeline/contracts"
)

// credentials keep the token between connections: it is asked for once, and again when the server did not take it, so that
// a thousand clients that reconnect do not also ask for a thousand tokens. Only run uses them.
type credentials struct {
	ask     func(context.Context) (string, error)
	token   string
	refused string // the latest token that was refused since the last time online
}

// get returns the token, or "" for a log-in by name.
func (c *credentials) get(ctx context.Context) (string, error) {
	if c.ask == nil || c.token != "" {
		return c.token, nil
	}
	token, err := c.ask(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("get a token: %w", err)
	case token == "":
		return "", errors.New("get a token: it is empty")
	case len(token) > contracts.MaxTokenLength:
		return "", errors.New("get a token: it is longer than a server takes")
	}
	c.token = token
	return token, nil
}

// accepted notes that the server took the token.
func (c *credentials) accepted() { c.refused = "" }

// reject notes that the server did not take the token, and tells whether to ask for another: not if the same one was
// refused just before, nor for a log-in by name.
func (c *credentials) reject() bool {
	if c.ask == nil || c.token == c.refused {
		return false
	}
	c.refused, c.token = c.token, ""
	return true
}
