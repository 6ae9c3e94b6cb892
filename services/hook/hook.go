// Package hook tells HTTP backends of clients. [Hook] asks whether a client may do something that its token does not say; it
// decides nothing by itself, and remembers nothing. [Events] tells what became of clients, when there is time for it.
package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// ErrUnavailable is wrapped by every error that says that the backend gave no answer: it is neither a yes nor a no.
var ErrUnavailable = errors.New("the hook did not answer")

// ErrConfig is wrapped by the errors of [New].
var ErrConfig = errors.New("invalid hook configuration")

// Config says where the backend is.
type Config struct {
	URL     string        // http or https
	Secret  string        // signs the requests; empty: they are not signed
	Timeout time.Duration // for one question; zero: 2 s
	Most    int           // questions under way at a time; more are ErrUnavailable at once. Zero: 256
}

// Hook asks. It is safe for concurrent use.
type Hook struct {
	cfg    Config
	post   *poster
	places chan struct{}
}

// question is the body of a request.
type question struct {
	Op     string `json:"op"`     // join or watch
	Client string `json:"client"` // who asks
	Target string `json:"target"` // the group, or the client to be watched
}

// New returns a hook, or [ErrConfig].
func New(cfg Config) (*Hook, error) {
	p, err := newPoster(cfg.URL, cfg.Secret)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Most == 0 {
		cfg.Most = 256
	}
	return &Hook{cfg: cfg, post: p, places: make(chan struct{}, cfg.Most)}, nil
}

// Allows asks whether client may do op (join, watch) to target: status 200 or 204 is a yes, 401, 403 or 404 a no. Any other
// answer, and none, is [ErrUnavailable].
func (h *Hook) Allows(ctx context.Context, op, client, target string) (bool, error) {
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		return false, fmt.Errorf("%w: %d questions are under way", ErrUnavailable, h.cfg.Most)
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	body, err := json.Marshal(question{op, client, target})
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	status, err := h.post.post(ctx, body)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch status {
	case http.StatusOK, http.StatusNoContent:
		return true, nil
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("%w: status %d", ErrUnavailable, status)
}

// Close closes idle connections.
func (h *Hook) Close() { h.post.close() }
