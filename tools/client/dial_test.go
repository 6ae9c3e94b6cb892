package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

func TestDialSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		url  string
		opts client.Options
	}{
		"nobody":            {"ws://example.org", client.Options{}},
		"bad name":          {"ws://example.org", client.Options{Client: "a b"}},
		"bad device":        {"ws://example.org", client.Options{Client: "a", Device: "my phone"}},
		"no scheme":         {"example.org:80", client.Options{Client: "a"}},
		"another scheme":    {"ftp://example.org", client.Options{Client: "a"}},
		"no host":           {"ws:///v1/ws", client.Options{Client: "a"}},
		"a password":        {"ws://u:p@example.org", client.Options{Client: "a"}},
		"empty token":       {"ws://example.org", client.Options{Token: client.StaticToken("")}},
		"token is too long": {"ws://example.org", client.Options{Token: client.StaticToken(string(make([]byte, contracts.MaxTokenLength+1)))}},
	} {
		tc.opts.NetDial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("must not dial") }
		c, err := client.Dial(t.Context(), tc.url, tc.opts)
		if c != nil || err == nil || errors.Is(err, client.ErrClosed) || len(err.Error()) > 200 {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

func TestDialReturnsWhyItWasRefused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusBadGateway} {
		s := newServer(t, false)
		s.refuseWith(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not you", status) }))
		_, err := client.Dial(t.Context(), s.url, s.options(client.Options{}))
		var refusal *client.RefusedError
		if !errors.As(err, &refusal) || refusal.Status != status || refusal.Reason != "not you" {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestDialWithKeepTryingGoesOnUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		s.refuseWith(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "this node is full", http.StatusServiceUnavailable)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_, err := client.Dial(ctx, s.url, s.options(client.Options{KeepTrying: true}))
		var refusal *client.RefusedError
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &refusal) {
			t.Errorf("%v", err)
		}
		// On average every 16 s, once the waits have grown to their cap.
		if n := s.requests(); n < 20 || n > 80 {
			t.Errorf("%d attempts in ten minutes", n)
		}
	})
}

func TestDialEndsWithItsContextWhateverTheServerDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, talk := range map[string]func(net.Conn){
			"it accepts and says nothing":  func(net.Conn) {},
			"it reads and does not answer": func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) },
		} {
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			_, err := client.Dial(ctx, "ws://example.org", client.Options{Client: "a", NetDial: func(context.Context, string, string) (net.Conn, error) {
				near, far := net.Pipe()
				wg.Go(func() { talk(far) })
				return near, nil
			}})
			if took := time.Since(start); !errors.Is(err, context.Canceled) || took != time.Second {
				t.Errorf("%s: %v after %s", name, err, took)
			}
			wg.Wait()
		}
	})
}

func TestAServerThatIsNeverReadyIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		start := time.Now()
		_, err := client.Dial(t.Context(), s.url, s.options(client.Options{}))
		if took := time.Since(start); err == nil || took != 10*time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestCloseSaysGoodbyeAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	var last client.StateChange
	c, p := s.connect(t, client.Options{OnState: func(s client.StateChange) { last = s }})
	answered := sendAsync(t, c, "bob", hi)
	p.next()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { closeClient(t, c) })
	}
	wg.Wait()
	closeClient(t, c)
	if err := p.gone(); !websocket.IsCloseError(err, int(contracts.CloseNormal)) {
		t.Errorf("the server saw %v", err)
	}
	wantSendError(t, (<-answered).err, client.ErrClosed, true)
	_, err := c.Send(t.Context(), "bob", hi)
	wantSendError(t, err, client.ErrClosed, false)
	if !errors.Is(c.Err(), client.ErrClosed) || last.State != client.Closed {
		t.Errorf("%v, %s", c.Err(), last.State)
	}
	<-c.Done()
}

func TestCloseIsBoundedWhenTheServerHasStoppedReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		p.stopReading()
		for range 10 {
			sendAsync(t, c, "bob", hi)
			synctest.Wait()
		}
		start := time.Now()
		closeClient(t, c)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestCloseIsBoundedWhenAHandlerDoesNotReturn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		release := make(chan struct{})
		calls := 0
		c, p := s.connect(t, client.Options{Handler: func(client.Message) { calls++; <-release }})
		p.say(msg(0), msg(1), msg(2))
		synctest.Wait()
		if err := c.Close(); err == nil {
			t.Error("it did not notice")
		}
		close(release)
		closeClient(t, c)
		if calls != 1 {
			t.Errorf("the handler was called %d times", calls)
		}
	})
}

func TestCloseDoesNotWaitForTheNextAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		p.close(contracts.CloseOverload)
		_ = p.gone()
		synctest.Wait()
		if c.State() != client.Offline {
			t.Error(c.State())
		}
		start := time.Now()
		closeClient(t, c)
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %s", took)
		}
	})
}
