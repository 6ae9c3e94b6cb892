package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Path is where an edge takes connections; [Dial] adds it to a URL without a path.
const Path = "/v1/ws"

// Message is what another client sent, or published to a group. It is the handler's to keep.
type Message struct {
	From  contracts.ClientID
	Group contracts.GroupName // set when it was published to a group
	Data  json.RawMessage     // one JSON value, as the sender wrote it
}

// Options say who connects and how. Token or Client is needed; the rest has a default.
type Options struct {
	// Token returns the token to log in with. It is asked before the first connection, and again when the server did not
	// take the one it gave. A static one: [StaticToken]. If it gives a token that was just refused, the client tries that
	// once more, and then stops.
	Token func(ctx context.Context) (string, error)
	// Client logs in by name, without a token, which only servers in development allow.
	Client contracts.ClientID
	// Device names the client's device, with the alphabet of a client id.
	Device string

	// Registry is asked where to connect; the URL given to Dial is empty then. nil: that URL is it.
	Registry *Registry

	// Handler is called with every message, one after the other, in the order in which they arrived; also before Dial
	// has returned. While it is busy, up to Inbox messages wait; after that the client stops reading, and a handler that is
	// still busy two heartbeats later costs it the connection. Without a Handler, messages are passed over.
	Handler func(Message)
	// OnPresence is called with what the clients of [Client.Watch] are, and become: by the goroutine that calls Handler,
	// in order with it.
	OnPresence func(Presence)
	// OnState is called when the connection comes and goes, one call after the other. While it is busy, the client does not
	// connect again.
	OnState func(StateChange)
	// Logger gets what may interest somebody who looks for a fault. nil: nothing is logged.
	Logger *slog.Logger

	Backoff Backoff
	// KeepTrying makes Dial try again, as after a broken connection, until its context ends. Otherwise the first
	// failure is Dial's error.
	KeepTrying bool

	MaxPending int // requests without an answer at a time; more are ErrBusy. Default 1024, which is also an edge's
	MaxQueue   int // what may wait to be written, in bytes; more is ErrBusy. Default 1 MiB
	MaxFrame   int // the server's bound, in bytes. Default contracts.DefaultMaxFrame
	Inbox      int // messages and presences that may wait for Handler and OnPresence. Default 1024

	ConnectTime time.Duration // from the start of an attempt to ready, to the groups and the watches. Default 10 s
	AnswerTime  time.Duration // after which, and at most half as much later, a request is ErrNoAnswer. Default 10 s
	WriteTime   time.Duration // for one write, after which the connection is given up. Default 10 s
	CloseTime   time.Duration // for the server to say good-bye too. Default 2 s

	// HTTPHeader is sent with the request to connect; raw TCP has none.
	HTTPHeader http.Header
	// TLS is used for wss and tls. nil: the system's roots.
	TLS *tls.Config
	// NetDial opens the connection underneath. nil: TCP, for WebSocket through the proxy that the environment names.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// StaticToken is a Token for Options that is always the same.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// withDefaults returns the options with every field set, or says what is wrong with them.
func (o Options) withDefaults() (Options, error) {
	if o.Token == nil && o.Client == "" {
		return o, errors.New("a token or a client name is needed")
	}
	if o.Client != "" {
		if _, err := contracts.ParseClientID(o.Client); err != nil {
			return o, fmt.Errorf("client name: %w", err)
		}
	}
	if o.Device != "" {
		if _, err := contracts.ParseClientID(o.Device); err != nil {
			return o, fmt.Errorf("device: %w", err)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Backoff = o.Backoff.withDefaults()
	orDefault(&o.MaxPending, 1024)
	orDefault(&o.MaxFrame, contracts.DefaultMaxFrame)
	orDefault(&o.MaxQueue, 1<<20)
	orDefault(&o.Inbox, 1024)
	orDefault(&o.ConnectTime, 10*time.Second)
	orDefault(&o.AnswerTime, 10*time.Second)
	orDefault(&o.WriteTime, 10*time.Second)
	orDefault(&o.CloseTime, 2*time.Second)
	return o, nil
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// parseURL returns the URL that a user means.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss", "tcp", "tls":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return nil, errors.New("url: it must start with ws:// or wss://, or for raw TCP with tcp:// or tls://")
	}
	switch {
	case u.Host == "":
		return nil, errors.New("url: it has no host")
	case u.User != nil:
		return nil, errors.New("url: a name or a password in it is not used, and may be logged")
	}
	u.Fragment = ""
	bare, raw := u.Path == "" || u.Path == "/", overTCP(u.String())
	switch {
	case raw && (!bare || u.Port() == ""):
		return nil, errors.New("url: for raw TCP it has a host and a port, and no path")
	case raw:
		u.Path = ""
	case bare:
		u.Path = Path
	}
	return u, nil
}
