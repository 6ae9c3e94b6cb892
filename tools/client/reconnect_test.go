package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

func TestConnectsAgainAfterARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		var states []string
		c, p := s.connect(t, client.Options{OnState: func(s client.StateChange) { states = append(states, s.State.String()) }})
		for range 3 {
			broke := time.Now()
			p.close(contracts.CloseRestart)
			_ = p.gone()
			p = s.accept(t)
			if waited := time.Since(broke); waited > time.Second {
				t.Errorf("after %s", waited)
			}
			p.ready()
			answered := sendAsyncWhenOnline(t, c)
			p.ok(p.next())
			if got := <-answered; got.err != nil {
				t.Error(got.err)
			}
			after(30 * time.Second) // stable
		}
		closeClient(t, c)
		want := "connecting online" + strings.Repeat(" offline connecting online", 3) + " closed"
		if got := strings.Join(states, " "); got != want {
			t.Errorf("the states were %s, not %s", got, want)
		}
	})
}

// sendAsyncWhenOnline sends after the client has noticed that it is online, in a bubble.
func sendAsyncWhenOnline(t *testing.T, c *client.Client) <-chan result {
	t.Helper()
	synctest.Wait()
	return sendAsync(t, c, "bob", hi)
}

func TestACloseCodeThatSaysSoEndsItForGood(t *testing.T) {
	t.Parallel()
	for _, code := range []contracts.CloseCode{
		contracts.CloseReplaced, contracts.CloseForbidden, contracts.CloseNormal, contracts.CloseGoingAway, contracts.ClosePolicy,
		contracts.CloseTooBig, contracts.CloseInvalidData,
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, true)
				c, p := s.connect(t, client.Options{})
				answered := sendAsync(t, c, "bob", hi)
				p.next()
				p.close(code)
				<-c.Done()
				var closed *client.CloseError
				if err := c.Err(); !errors.Is(err, client.ErrClosed) || !errors.As(err, &closed) || closed.Code != code || closed.Reason != "because" {
					t.Errorf("%v", err)
				}
				wantSendError(t, (<-answered).err, client.ErrDisconnected, true)
				_, err := c.Send(t.Context(), "bob", hi)
				wantSendError(t, err, client.ErrClosed, false)
				after(time.Hour)
				if n := s.requests(); n != 1 {
					t.Errorf("it connected %d times", n)
				}
				if c.State() != client.Closed {
					t.Error(c.State())
				}
			})
		})
	}
}

func TestAfterOverloadItWaitsASecondAtLeast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		_, p := s.connect(t, client.Options{})
		for _, code := range []contracts.CloseCode{contracts.CloseOverload, contracts.CloseRate} {
			broke := time.Now()
			p.close(code)
			p = s.accept(t)
			if waited := time.Since(broke); waited < time.Second || waited > 2*time.Second {
				t.Errorf("%d: after %s", code, waited)
			}
			p.ready()
		}
	})
}

// tokens counts how often it is asked, and gives a new one each time.
func tokens(asked *int) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		*asked++
		return fmt.Sprintf("token-%d", *asked), nil
	}
}

func TestTheTokenIsAskedForAgainWhenItWasNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := newServer(t, true)
		_, p := s.connect(t, client.Options{Token: tokens(&asked)})
		for i, code := range []contracts.CloseCode{contracts.CloseRestart, contracts.CloseUnauthorized, contracts.CloseSlow, contracts.CloseUnauthorized} {
			want := fmt.Sprintf("Bearer token-%d", 1+i/2)
			if got := p.header.Get("Authorization"); got != want {
				t.Errorf("connection %d came with %q, not %q", i, got, want)
			}
			p.close(code)
			p = s.accept(t)
			p.ready()
		}
		if asked != 3 {
			t.Errorf("asked %d times", asked)
		}
	})
}

func TestATokenThatIsRefusedTwiceEndsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{Token: client.StaticToken("old")})
		p.close(contracts.CloseUnauthorized)
		p = s.accept(t)
		p.say(`{"error":{"code":"unauthorized","message":"token expired"}}`)
		p.close(contracts.CloseUnauthorized)
		<-c.Done()
		var answer *contracts.Error
		if !errors.As(c.Err(), &answer) || answer.Message != "token expired" {
			t.Error(c.Err())
		}
	})
}

func TestALogInByNameThatIsRefusedIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	failed := make(chan error, 1)
	go func() {
		_, err := client.Dial(t.Context(), s.url, s.options(client.Options{Client: "alice", KeepTrying: true}))
		failed <- err
	}()
	p := s.accept(t)
	if r := p.next(); r.Op != contracts.OpAuth || r.Auth.Client != "alice" || p.header.Get("Authorization") != "" {
		t.Errorf("%+v", r)
	}
	p.close(contracts.CloseUnauthorized)
	var closed *client.CloseError
	if err := <-failed; !errors.As(err, &closed) || closed.Code != contracts.CloseUnauthorized {
		t.Error(err)
	}
}

func TestADeviceIsNamedInTheAuthObject(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	_, p := s.connect(t, client.Options{Token: client.StaticToken("tok"), Device: "phone", HTTPHeader: http.Header{"X-Test": {"1"}}})
	want := contracts.Auth{Token: "tok", Device: "phone"}
	if r := p.next(); r.Op != contracts.OpAuth || r.Auth != want || p.header.Get("X-Test") != "1" {
		t.Errorf("%+v", r)
	}
	if p.path != client.Path {
		t.Errorf("it connected to %s", p.path)
	}
}

func TestASilentServerIsLeftAfterTwoHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		_, p := s.connect(t, client.Options{})
		for range 1000 {
			after(49 * time.Second)
			if err := p.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		last := time.Now()
		_ = p.gone()
		if waited := time.Since(last); waited != 50*time.Second {
			t.Errorf("after %s", waited)
		}
		s.accept(t).ready()
	})
}

func TestAClientThatIsToldToMoveGoesThereWithNothingLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		answered := sendAsync(t, c, "bob", hi)
		under := p.next()
		told := time.Now()
		p.say(`{"moving":{"url":"ws://elsewhere/x?y=z","within_ms":1600}}`)
		after(900 * time.Millisecond) // it has stopped sending, and waits a second for the answer
		late := sendAsync(t, c, "bob", hi)
		p.ok(under)
		if got := <-answered; got.err != nil {
			t.Error(got.err)
		}
		if err := p.gone(); !websocket.IsCloseError(err, int(contracts.CloseNormal)) {
			t.Errorf("it left with %v", err)
		}
		p = s.accept(t)
		if took := time.Since(told); took > time.Second || p.path != "/x?y=z" {
			t.Errorf("after %s at %s", took, p.path)
		}
		p.ready()
		p.ok(p.next())
		if got := <-late; got.err != nil {
			t.Error(got.err)
		}
		p.close(contracts.CloseRestart)
		if p = s.accept(t); p.path != client.Path {
			t.Errorf("later it came back to %s", p.path)
		}
		p.ready()
	})
}

func TestWhatWaitsForAMoveEndsWhenThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		unanswered := sendAsync(t, c, "bob", hi)
		p.next()
		s.refuseWith(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			http.Error(w, "this node is stopping", http.StatusServiceUnavailable)
		}))
		p.say(`{"moving":{"within_ms":0}}`)
		synctest.Wait()
		late := sendAsync(t, c, "bob", hi)
		wantSendError(t, (<-unanswered).err, client.ErrDisconnected, true)
		wantSendError(t, (<-late).err, client.ErrDisconnected, false)
		refused := time.Now()
		s.refuseWith(nil)
		s.accept(t).ready()
		if waited := time.Since(refused); waited < 7*time.Second || waited > 8*time.Second {
			t.Errorf("it came back after %s", waited)
		}
	})
}

func TestAClientIsNotMovedToALessSafePlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, url := range []string{"gopher://x", "//x", "ws://user:password@x/", "javascript:alert(1)", "\\u0000"} {
			s := newServer(t, true)
			c, p := s.connect(t, client.Options{})
			p.say(fmt.Sprintf(`{"moving":{"url":"%s","within_ms":0}}`, url))
			_ = p.gone()
			p = s.accept(t)
			if p.path != client.Path {
				t.Errorf("%s: it went to %s", url, p.path)
			}
			p.ready()
			closeClient(t, c)
		}
	})
}
