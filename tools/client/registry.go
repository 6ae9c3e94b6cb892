package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// RegistryPath is where a registry is asked; it is added to a URL without a path.
const RegistryPath = "/v1/connections"

// Registry says whom to ask where to connect. The client asks before every connection, with its token or its name: an
// address has a ticket in it that is good once, and for a minute. It tries the alternates in their order when the primary
// does not take it. What the registry says of how to back off holds where Options.Backoff says nothing.
type Registry struct {
	// URLs are those of registries that are alike, http:// or https://. When one does not answer, or cannot, the next is
	// asked. One that is https must name wss or tls addresses.
	URLs []string
	// Key brings those with the same key to the same edge: the name of a room, for instance. Empty: the registry chooses.
	Key contracts.PlacementKey
	// Class is the kind of request, by which the registry chooses how. Empty: its default.
	Class string
	// Zone is where this client is. Empty: not known.
	Zone contracts.Zone
	// Transport is what to connect over: [contracts.WebSocket], or [contracts.RawTCP], for which the registry and the servers
	// behind it must be set up. Empty: WebSocket. Addresses for the other one are not gone to.
	Transport contracts.Transport
}

const (
	maxConnection = 64 << 10 // bytes of a registry's answer
	maxPlaces     = 8        // addresses in it that are tried
	maxBackoff    = time.Hour
	otherTimes    = 3 // an address that has others after it gets this part of ConnectTime to take the connection
)

// locator asks registries. Only run uses it.
type locator struct {
	urls  []*url.URL
	last  int // that answered
	about Registry
}

// newLocator checks what the application says of the registries.
func newLocator(o Options) (*locator, error) {
	l := &locator{about: *o.Registry}
	if len(o.Registry.URLs) == 0 {
		return nil, errors.New("registry: it has no url")
	}
	for _, s := range o.Registry.URLs {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return nil, fmt.Errorf("registry: url: %w", err)
		case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil:
			return nil, errors.New("registry: url: it must be http:// or https:// and a host, without a name or a password")
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = RegistryPath
		}
		l.urls = append(l.urls, u)
	}
	if l.about.Transport == "" {
		l.about.Transport = contracts.WebSocket
	}
	if _, err := contracts.ParseTransport(string(l.about.Transport)); err != nil {
		return nil, fmt.Errorf("registry: transport: %w", err)
	}
	return l, nil
}

// reach makes an attempt to connect: to where the server said, or the application, or else the registry.
func (c *Client) reach(life context.Context, to *url.URL) (*link, contracts.Ready, error) {
	if to == nil {
		to = c.url
	}
	if to != nil {
		return c.connect(life, to.String(), c.opts.ConnectTime)
	}
	places, until, err := c.places(life)
	if err != nil {
		return nil, contracts.Ready{}, fmt.Errorf("ask the registry: %w", err)
	}
	for i, place := range places {
		if i > 0 && !time.Now().Before(until) {
			break // with an error after which the registry is asked again
		}
		within := c.opts.ConnectTime
		if i < len(places)-1 {
			within /= otherTimes
		}
		var (
			l     *link
			ready contracts.Ready
		)
		if l, ready, err = c.connect(life, place, within); err == nil {
			return l, ready, nil
		}
		// A 401 may be about the ticket, and each address has its own.
		if how, _ := verdict(err); life.Err() != nil || how == contracts.RetryNever {
			break
		}
	}
	return nil, contracts.Ready{}, err
}

// places asks where to connect, and until when: the last registry that answered first, then the others.
func (c *Client) places(life context.Context) (places []string, until time.Time, err error) {
	for i := range c.locate.urls {
		n := (c.locate.last + i) % len(c.locate.urls)
		within := c.opts.ConnectTime
		if i < len(c.locate.urls)-1 {
			within /= otherTimes
		}
		var answer contracts.Connection
		if answer, err = c.ask(life, c.locate.urls[n], within); err == nil {
			c.locate.last = n
			c.retries.Backoff = c.backoff.or(fromRegistry(answer.Backoff)).withDefaults()
			places, err = usable(answer, c.locate.about.Transport, c.locate.urls[n].Scheme == "https")
			life := contracts.TicketLife
			if answer.ExpiresIn > 0 {
				life = min(life, time.Duration(answer.ExpiresIn)*time.Second)
			}
			return places, time.Now().Add(life), err
		}
		if how, _ := verdict(err); life.Err() != nil || how == contracts.RetryNever || how == contracts.RetryToken {
			break
		}
	}
	return nil, until, err
}

// ask asks one registry.
func (c *Client) ask(life context.Context, at *url.URL, within time.Duration) (answer contracts.Connection, err error) {
	ctx, cancel := context.WithTimeout(life, within)
	defer cancel()
	token, err := c.login.get(ctx)
	if err != nil {
		return answer, err
	}
	about := c.locate.about
	if about.Transport == contracts.WebSocket {
		about.Transport = "" // which is the same, and which registries of before know
	}
	body, err := json.Marshal(struct {
		Client contracts.ClientID     `json:"client,omitempty"`
		Key    contracts.PlacementKey `json:"key,omitempty"`
		Class  string                 `json:"class,omitempty"`
		Zone   contracts.Zone         `json:"zone,omitempty"`

		Transport contracts.Transport `json:"transport,omitempty"`
	}{c.nameUnless(token), about.Key, about.Class, about.Zone, about.Transport})
	if err != nil {
		return answer, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.web(ctx).Do(request)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return answer, refused(response)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxConnection))
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		return answer, fmt.Errorf("its answer cannot be read: %w", err)
	}
	return answer, nil
}

// web returns what asks one question, by ctx: left to itself, a transport dials on when nobody waits for it any more.
func (c *Client) web(ctx context.Context) *http.Client {
	netDial, proxy := c.opts.NetDial, (func(*http.Request) (*url.URL, error))(nil)
	if netDial == nil {
		netDial, proxy = new(net.Dialer).DialContext, http.ProxyFromEnvironment
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(_ context.Context, network, addr string) (net.Conn, error) { return netDial(ctx, network, addr) },
			Proxy:       proxy, TLSClientConfig: c.opts.TLS, DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token goes nowhere else
	}
}

// usable returns the addresses of an answer that this client goes to over a transport, of which none is less safe than the registry.
func usable(answer contracts.Connection, over contracts.Transport, secure bool) (places []string, err error) {
	plain, safe := "ws://", "wss://"
	if over == contracts.RawTCP {
		plain, safe = "tcp://", "tls://"
	}
	for _, e := range append([]contracts.Endpoint{answer.Primary}, answer.Alternates...) {
		u, err := parseURL(e.URL)
		fits := strings.HasPrefix(e.URL, safe) || !secure && strings.HasPrefix(e.URL, plain)
		if err == nil && fits && len(places) < maxPlaces {
			places = append(places, u.String())
		}
	}
	if len(places) == 0 {
		return nil, errors.New("it names no address that this client goes to")
	}
	return places, nil
}

// fromRegistry makes of the registry's words what the application could have said; what makes no sense is left out.
func fromRegistry(b contracts.Backoff) Backoff {
	sane := func(ms int64) time.Duration {
		return time.Duration(max(0, min(ms, maxBackoff.Milliseconds()))) * time.Millisecond
	}
	return Backoff{First: sane(b.FirstMS), Base: sane(b.BaseMS), Cap: sane(b.CapMS)}
}
