package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// SignatureHeader carries `sha256=` and the hexadecimal HMAC-SHA-256 of the body with the secret.
const SignatureHeader = "Beeline-Signature"

// poster posts signed JSON to one address. It is safe for concurrent use.
type poster struct {
	url    string
	secret []byte // empty: what is posted is not signed
	client *http.Client
}

// newPoster returns a poster, or [ErrConfig].
func newPoster(address, secret string) (*poster, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: the address must be an http:// or https:// URL", ErrConfig)
	}
	return &poster{
		url: address, secret: []byte(secret),
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, MaxConnsPerHost: 64},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// post returns the status of the answer.
func (p *poster) post(ctx context.Context, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if len(p.secret) > 0 {
		mac := hmac.New(sha256.New, p.secret)
		mac.Write(body)
		req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096)) // so that the connection can be used again
	return resp.StatusCode, nil
}

// withoutURL takes from an error the address, whose path or query may be a secret: errors are logged.
func withoutURL(err error) error {
	if about, ok := errors.AsType[*url.Error](err); ok {
		return about.Err
	}
	return err
}

// close closes idle connections.
func (p *poster) close() { p.client.CloseIdleConnections() }
