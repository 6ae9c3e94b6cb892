package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

// connectFlags say where a client connects, and as whom.
type connectFlags struct {
	As        string   `name:"as" env:"BEELINE_AS" placeholder:"NAME" help:"Who you are. Without a token the server believes it only in development; with one it must be whom the token is for, and may be left out."`
	URL       string   `name:"url" env:"BEELINE_URL" placeholder:"ws://127.0.0.1:8081" help:"Where to connect: ws:// or wss://; /v1/ws is added if there is no path. Or tcp:// or tls:// with a host and a port, for raw TCP."`
	Registry  []string `name:"registry" env:"BEELINE_REGISTRY" placeholder:"URL" help:"In place of --url: http:// or https:// address of a registry, which is asked where to connect, before every connection. Repeat it for others that are asked when one does not answer."`
	Key       string   `name:"place-key" placeholder:"NAME" help:"With --registry: those with the same key are on the same edge, such as those in a room."`
	Zone      string   `name:"zone" placeholder:"NAME" help:"With --registry: where you are; edges there are preferred."`
	Transport string   `name:"transport" placeholder:"NAME" help:"With --registry: what to connect over, websocket or tcp. Not given: websocket."`
	Token     string   `name:"token" env:"BEELINE_TOKEN" placeholder:"TOKEN" help:"Login token; better in the variable or in a file, which others cannot read."`
	TokenFile string   `name:"token-file" env:"BEELINE_TOKEN_FILE" placeholder:"FILE" help:"File with the login token; it is read again whenever a new connection needs it."`
	Device    string   `name:"device" env:"BEELINE_DEVICE" placeholder:"NAME" help:"Name of this device, if you use several."`
}

// address returns the URL to connect to.
func (f connectFlags) address() (string, error) {
	text := f.URL
	if !strings.Contains(text, "://") {
		text = "ws://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", usagef("--url: %q is not an address such as ws://127.0.0.1:8081", f.URL)
	}
	switch u.Scheme {
	case "ws", "wss":
	case "tcp", "tls":
		if u.Port() == "" || u.Path != "" && u.Path != "/" {
			return "", usagef("--url: %q must have a host and a port, and no path: raw TCP has none", f.URL)
		}
		return text, nil
	case "http", "https":
		u.Scheme = "ws" + strings.TrimPrefix(u.Scheme, "http")
	default:
		return "", usagef("--url: %q must begin with ws:// or wss://, or with tcp:// or tls:// for raw TCP", f.URL)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = client.Path
	}
	return u.String(), nil
}

// defaultURL is where the first edge of `beeline dev` is.
const defaultURL = "ws://127.0.0.1:8081"

// place says where to connect: the address, or what to ask a registry.
func (f connectFlags) place() (string, *client.Registry, error) {
	switch {
	case len(f.Registry) > 0 && f.URL != "":
		return "", nil, usagef("--url and --registry: give one of them (or BEELINE_URL, or BEELINE_REGISTRY)")
	case len(f.Registry) == 0 && (f.Key != "" || f.Zone != "" || f.Transport != ""):
		return "", nil, usagef("--place-key, --zone and --transport: they are for --registry, which is not given; --url says by how it begins what to connect over")
	case len(f.Registry) == 0:
		if f.URL == "" {
			f.URL = defaultURL
		}
		address, err := f.address()
		return address, nil, err
	}
	r := &client.Registry{Key: contracts.PlacementKey(f.Key), Zone: contracts.Zone(f.Zone), Transport: contracts.Transport(f.Transport)}
	for _, text := range f.Registry {
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return "", nil, usagef("--registry: %q is not an address such as http://127.0.0.1:8070", text)
		}
		r.URLs = append(r.URLs, text)
	}
	if _, err := contracts.ParsePlacementKey(f.Key); f.Key != "" && err != nil {
		return "", nil, usagef("--place-key: %w", err)
	}
	if _, err := contracts.ParseZone(f.Zone); f.Zone != "" && err != nil {
		return "", nil, usagef("--zone: %w", err)
	}
	if _, err := contracts.ParseTransport(f.Transport); f.Transport != "" && err != nil {
		return "", nil, usagef("--transport: %w", err)
	}
	return "", r, nil
}

// check refuses flags that do not say, or say twice, who connects.
func (f connectFlags) check() error {
	switch {
	case f.Token != "" && f.TokenFile != "":
		return usagef("--token and --token-file: give one of them (or BEELINE_TOKEN, or BEELINE_TOKEN_FILE)")
	case f.As == "" && f.Token == "" && f.TokenFile == "":
		return usagef("say who you are: --as NAME for a development server, or --token")
	}
	for _, id := range []struct{ flag, value string }{{"as", f.As}, {"device", f.Device}} {
		if id.value == "" {
			continue
		}
		if _, err := contracts.ParseClientID(id.value); err != nil {
			return badName(id.flag, err)
		}
	}
	return nil
}

// token returns the login token as it is now, or "" when there is none.
func (f connectFlags) token() (string, error) { return secret("token", f.Token, f.TokenFile) }

// dial connects. options says who gets what comes; the rest of it is set here.
func (f connectFlags) dial(ctx context.Context, p *process, options client.Options) (*client.Client, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	address, registry, err := f.place()
	if err != nil {
		return nil, err
	}
	options.Registry = registry
	options.Client, options.Device = contracts.ClientID(f.As), f.Device
	options.MaxFrame = contracts.MaxMaxFrame // each frame has one message, whose size is for the server to judge
	if f.Token != "" || f.TokenFile != "" {
		if _, err := f.token(); err != nil {
			return nil, err
		}
		options.Token = func(context.Context) (string, error) { return f.token() }
	}
	where := address
	if registry != nil {
		where = "where the registry says, " + strings.Join(registry.URLs, " or ")
	}
	done := p.waiting("connecting to " + where)
	c, err := client.Dial(ctx, address, options)
	done()
	if err != nil {
		return nil, explainDial(err, address)
	}
	if who := string(c.Ready().Client); f.As != "" && who != f.As {
		return nil, errors.Join(usagef("--as %s: the token is for %s", f.As, who), c.Close())
	}
	return c, nil
}

// explainDial adds what to do about the usual reasons why there is no connection.
func explainDial(err error, address string) error {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (is a server running there? beeline dev starts some)", err)
	case unknown:
		return fmt.Errorf("%w (an authority of your own must be one of this system's; on Linux the variable SSL_CERT_FILE names a PEM file of others)", err)
	case errors.Is(err, io.EOF) && strings.HasPrefix(address, "tcp://"):
		return fmt.Errorf("%w (does the server take raw TCP there, and is it tls:// perhaps?)", err)
	}
	return err
}

// explainSend says it with names when the recipient is not there, and otherwise what [explainTime] says.
func explainSend(err error, to contracts.ClientID, limit time.Duration) error {
	var answer *contracts.Error
	if errors.As(err, &answer) && answer.Code == contracts.CodeOffline {
		return &contracts.Error{Code: answer.Code, Message: string(to) + " is not connected"}
	}
	return explainTime(err, limit)
}

// explainGroup names the group of which the server says something.
func explainGroup(err error, g contracts.GroupName) error {
	if answer, ok := errors.AsType[*contracts.Error](err); ok {
		return &contracts.Error{Code: answer.Code, Message: "group " + string(g) + ": " + answer.Message}
	}
	return err
}

// explainWatch says what the server says of a watch.
func explainWatch(err error) error {
	if answer, ok := errors.AsType[*contracts.Error](err); ok {
		return &contracts.Error{Code: answer.Code, Message: "watch: " + answer.Message}
	}
	return err
}

// explainTime replaces the words for the end of a context by those for a person.
func explainTime(err error, limit time.Duration) error {
	switch {
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	case client.MayHaveArrived(err):
		return fmt.Errorf("no answer within %v: the message may or may not arrive", limit)
	default:
		return fmt.Errorf("no answer within %v: %w", limit, err)
	}
}

// reporter returns a function that tells a person on standard error what the connection does.
func reporter(p *process) func(client.StateChange) {
	again := false
	return func(s client.StateChange) {
		switch s.State {
		case client.Online:
			word := "connected"
			if again {
				word = "connected again"
			}
			again = true
			fmt.Fprintf(p.stderr, "%s to edge %s of cluster %s as %s\n", word, s.Ready.Node, s.Ready.Cluster, s.Ready.Client)
			if s.Err != nil {
				fmt.Fprintf(p.stderr, "not in every group, or not watching everybody: %v\n", sentence(s.Err))
			}
		case client.Offline:
			fmt.Fprintf(p.stderr, "not connected: %v; next try in %v\n", sentence(s.Err), s.RetryIn.Round(10*time.Millisecond))
		case client.Connecting, client.Closed: // the first says nothing new, the second is the command's error
		}
	}
}
