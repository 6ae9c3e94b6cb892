package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

// registry answers where to connect: to hosts, each address with a ticket of its own.
type registry struct {
	mu       sync.Mutex
	hosts    []string
	backoff  contracts.Backoff
	refuse   func(w http.ResponseWriter, r *http.Request) bool // nil: nobody is refused
	requests []string                                          // what was asked: authorization and body
	tickets  int
}

// serveRegistry has a server answer as a registry, too.
func serveRegistry(s *server, hosts ...string) *registry {
	r := &registry{hosts: hosts}
	s.registry = r
	return r
}

// ServeHTTP answers one request.
func (r *registry) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, _ := io.ReadAll(hr.Body)
	r.requests = append(r.requests, hr.Method+" "+hr.Header.Get("Authorization")+" "+string(body))
	if r.refuse != nil && r.refuse(w, hr) {
		return
	}
	answer := contracts.Connection{ExpiresIn: 60, Backoff: r.backoff}
	for i, host := range r.hosts {
		r.tickets++
		e := contracts.Endpoint{URL: fmt.Sprintf("ws://%s/v1/ws?t=%d", host, r.tickets), Cluster: "a"}
		if contracts.TransportOf(host) == contracts.RawTCP {
			e.URL = fmt.Sprintf("%s?t=%d", host, r.tickets)
		}
		if i == 0 {
			answer.Primary = e
		} else {
			answer.Alternates = append(answer.Alternates, e)
		}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (r *registry) asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// dial connects a client by a registry at a server in memory, in a bubble; trouble says what becomes of dials to a host.
func (s *server) dial(t *testing.T, o client.Options, trouble map[string]error) (*client.Client, error) {
	t.Helper()
	if o.Token == nil {
		o.Client = "alice"
	}
	if o.Registry == nil {
		o.Registry = &client.Registry{URLs: []string{"http://registry"}}
	}
	o.NetDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, _ := strings.Cut(addr, ":")
		switch err := trouble[host]; {
		case errors.Is(err, errHangs):
			<-ctx.Done()
			return nil, ctx.Err()
		case err != nil:
			return nil, err
		}
		return s.netDial(ctx, network, addr)
	}
	c, err := client.Dial(t.Context(), "", o)
	if err == nil {
		t.Cleanup(func() { closeClient(t, c) })
	}
	return c, err
}

var (
	errHangs   = errors.New("hangs")
	errNoRoute = errors.New("no route")
)

// welcome makes the next clients ready.
func (s *server) welcome(t *testing.T, n int) (paths <-chan string) {
	t.Helper()
	ch := make(chan string, n)
	go func() {
		for range n {
			p := <-s.peers
			ch <- p.path
			p.ready()
		}
	}()
	return ch
}

func TestTheRegistrySaysWhereToConnect(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]client.Options{
		`POST  {"client":"alice"}`: {},
		`POST Bearer secret {}`:    {Token: client.StaticToken("secret")},
		`POST  {"client":"alice","key":"room","class":"rooms","zone":"eu"}`: {
			Registry: &client.Registry{URLs: []string{"http://registry"}, Key: "room", Class: "rooms", Zone: "eu"},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, true)
			r := serveRegistry(s, "one", "two")
			paths := s.welcome(t, 1)
			if _, err := s.dial(t, o, nil); err != nil {
				t.Fatal(err)
			}
			if got := <-paths; got != "/v1/ws?t=1" {
				t.Errorf("connected to %s", got)
			}
			if got := r.asked(); len(got) != 1 || got[0] != want {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	}
}

func TestAnAlternateIsTakenWhenThePrimaryIsOfNoUse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		took time.Duration
	}{
		"refuses": {errNoRoute, 0},
		"hangs":   {errHangs, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, true)
				r := serveRegistry(s, "one", "two", "three")
				paths := s.welcome(t, 1)
				start := time.Now()
				if _, err := s.dial(t, client.Options{ConnectTime: 9 * time.Second}, map[string]error{"one": tc.err}); err != nil {
					t.Fatal(err)
				}
				if got := <-paths; got != "/v1/ws?t=2" {
					t.Errorf("connected to %s", got)
				}
				if took := time.Since(start); took != tc.took || len(r.asked()) != 1 {
					t.Errorf("after %v, and %d questions", took, len(r.asked()))
				}
			})
		})
	}
}

func TestAnAlternateIsTakenWhenTheTicketOfThePrimaryIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		r := serveRegistry(s, "one", "two")
		s.refuseWith(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			s.refuseWith(nil)
			http.Error(w, "the ticket is not signed with a key of this system", http.StatusUnauthorized)
		}))
		paths := s.welcome(t, 1)
		if _, err := s.dial(t, client.Options{}, nil); err != nil {
			t.Fatal(err)
		}
		if got := <-paths; got != "/v1/ws?t=2" || len(r.asked()) != 1 {
			t.Errorf("connected to %s, after %d questions", got, len(r.asked()))
		}
	})
}

func TestAnAddressThatIsTooOldIsNotTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		r := serveRegistry(s, "one", "two", "three", "four")
		paths := s.welcome(t, 1)
		trouble := map[string]error{"one": errHangs, "two": errHangs}
		// Each of the first two takes 40 s to be of no use, and 60 s is all the time there is.
		if _, err := s.dial(t, client.Options{ConnectTime: 2 * time.Minute, KeepTrying: true, OnState: func(c client.StateChange) {
			if c.State == client.Offline {
				delete(trouble, "one")
			}
		}}, trouble); err != nil {
			t.Fatal(err)
		}
		if got := <-paths; got != "/v1/ws?t=5" || len(r.asked()) != 2 {
			t.Errorf("connected to %s, after %d questions", got, len(r.asked()))
		}
	})
}

func TestEveryConnectionHasATicketOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		r := serveRegistry(s, "one")
		done := make(chan error, 1)
		go func() {
			_, err := s.dial(t, client.Options{}, nil)
			done <- err
		}()
		p := s.accept(t)
		p.ready()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			switch i { // whatever the reason is
			case 0:
				p.close(contracts.CloseRestart)
			case 1:
				_ = p.ws.Close()
			default:
				p.say(`{"moving":{"within_ms":0}}`)
			}
			p = s.accept(t)
			p.ready()
			if want := fmt.Sprintf("/v1/ws?t=%d", i+2); p.path != want {
				t.Errorf("connected to %s, want %s", p.path, want)
			}
		}
		p.say(`{"moving":{"url":"ws://elsewhere/x","within_ms":0}}`)
		if p = s.accept(t); p.path != "/x" {
			t.Errorf("the server said /x, and it was %s", p.path)
		}
		if n := len(r.asked()); n != 5 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestClientWaitsAsTheRegistrySays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		r := serveRegistry(s, "one")
		r.backoff = contracts.Backoff{FirstMS: 3_600_000, BaseMS: 3_600_000, CapMS: 3_600_000}
		var waits []time.Duration
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		_, err := client.Dial(ctx, "", client.Options{
			Client: "alice", Registry: &client.Registry{URLs: []string{"http://registry"}}, KeepTrying: true,
			OnState: func(c client.StateChange) {
				if c.State == client.Offline {
					waits = append(waits, c.RetryIn)
				}
			},
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if strings.HasPrefix(addr, "one") {
					return nil, errNoRoute
				}
				return s.netDial(ctx, network, addr)
			},
		})
		if !errors.Is(err, errNoRoute) {
			t.Error(err)
		}
		if n := len(waits); n < 20 || n > 80 { // half an hour each, on average
			t.Errorf("%d waits in a day", n)
		}
	})
}

func TestWhatTheRegistryRefusesIsHeeded(t *testing.T) {
	t.Parallel()
	for status, tc := range map[int]struct{ questions, tokens int }{
		http.StatusUnauthorized: {2, 2}, // one more with another token
		http.StatusForbidden:    {1, 1},
		http.StatusBadRequest:   {1, 1},
		http.StatusNotFound:     {1, 1},
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, true)
				r := serveRegistry(s, "one")
				r.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
					w.WriteHeader(status)
					fmt.Fprint(w, `{"code":"forbidden","message":"not you"}`)
					return true
				}
				tokens := 0
				_, err := s.dial(t, client.Options{KeepTrying: true, Token: func(context.Context) (string, error) {
					tokens++
					return "the same", nil
				}}, nil)
				var refusal *client.RefusedError
				if !errors.As(err, &refusal) || refusal.Status != status || refusal.Reason != "not you" {
					t.Error(err)
				}
				if n := len(r.asked()); n != tc.questions || tokens != tc.tokens || s.requests() != 0 {
					t.Errorf("%d questions, %d tokens, %d connections", n, tokens, s.requests())
				}
			})
		})
	}
}

func TestABusyRegistryIsAskedAgainLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		r := serveRegistry(s, "one")
		r.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
			if len(r.requests) > 3 {
				return false
			}
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		s.welcome(t, 1)
		start := time.Now()
		if _, err := s.dial(t, client.Options{KeepTrying: true}, nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 21*time.Second || len(r.asked()) != 4 {
			t.Errorf("after %v and %d questions", took, len(r.asked()))
		}
	})
}

func TestAnotherRegistryIsAskedWhenOneIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		r := serveRegistry(s, "one")
		trouble := map[string]error{"first": errHangs, "second": errNoRoute}
		done := make(chan error, 1)
		start := time.Now()
		go func() {
			_, err := s.dial(t, client.Options{
				ConnectTime: 9 * time.Second,
				Registry:    &client.Registry{URLs: []string{"http://first", "http://second", "http://third"}},
			}, trouble)
			done <- err
		}()
		p := s.accept(t)
		p.ready()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("after %v", took)
		}
		p.say(`{"moving":{"within_ms":0}}`) // and now it is known who answers
		start = time.Now()
		p = s.accept(t)
		p.ready()
		if took := time.Since(start); took != 0 || len(r.asked()) != 2 {
			t.Errorf("again after %v", took)
		}
	})
}

func TestDialSaysWhatIsWrongWithARegistry(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		url  string
		urls []string
	}{
		{"", nil},
		{"ws://example.org", []string{"http://registry"}},
		{"", []string{"registry:8070"}},
		{"", []string{"ws://registry"}},
		{"", []string{"http://u:p@registry"}},
		{"", []string{"http://"}},
	} {
		_, err := client.Dial(t.Context(), tc.url, client.Options{Client: "alice", Registry: &client.Registry{URLs: tc.urls}, NetDial: func(context.Context, string, string) (net.Conn, error) {
			t.Error("it dials")
			return nil, errNoRoute
		}})
		if err == nil {
			t.Errorf("%q: no error", tc)
		}
	}
}
