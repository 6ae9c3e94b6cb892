// Package hook asks an HTTP backend whether a client may do something that its token does not say. It decides nothing by
// itself, and remembers nothing.
package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// SignatureHeader carries `sha256=` and the hexadecimal HMAC-SHA-256 of the body with the secret.
const SignatureHeader = "Beeline-Signature"

// Hook asks. It is safe for concurrent use.
type Hook struct {
	cfg    Config
	client *http.Client
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
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: the address must be an http:// or https:// URL", ErrConfig)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Most == 0 {
		cfg.Most = 256
	}
	return &Hook{
		cfg:    cfg,
		places: make(chan struct{}, cfg.Most),
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, MaxConnsPerHost: 64},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
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
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if h.cfg.Secret != "" {
		mac := hmac.New(sha256.New, []byte(h.cfg.Secret))
		mac.Write(body)
		req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096)) // so that the connection can be used again
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return true, nil
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
}

// Close closes idle connections.
func (h *Hook) Close() { h.client.CloseIdleConnections() }
