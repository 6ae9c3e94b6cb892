package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

// done answers a request about a group.
func (p *peer) done(r contracts.Request) {
	p.t.Helper()
	p.say(strings.TrimSpace(string(contracts.AppendDone(nil, r.ID))))
}

// join makes a client a member of groups.
func (p *peer) join(c *client.Client, groups ...contracts.GroupName) {
	p.t.Helper()
	for _, g := range groups {
		failed := p.begin(func() error { return c.Join(p.t.Context(), g) })
		p.done(p.want(contracts.OpJoin, g))
		if err := <-failed; err != nil {
			p.t.Fatalf("join %s: %v", g, err)
		}
	}
}

// begin runs f on a goroutine of its own.
func (p *peer) begin(f func() error) <-chan error {
	failed := make(chan error, 1)
	go func() { failed <- f() }()
	return failed
}

// want returns the next request, which must be this one.
func (p *peer) want(op contracts.Op, g contracts.GroupName) contracts.Request {
	p.t.Helper()
	r := p.next()
	if r.Op != op || r.Group != g {
		p.t.Fatalf("the server got %d of group %q, not %d of %q", r.Op, r.Group, op, g)
	}
	return r
}

// again lets a client that lost its connection come back, and returns the server's end.
func (s *server) again(t *testing.T, p *peer) *peer {
	t.Helper()
	p.close(contracts.CloseRestart)
	_ = p.gone()
	p = s.accept(t)
	p.ready()
	return p
}

func TestAGroupIsJoinedPublishedToAndLeft(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	got := make(chan client.Message, 2)
	c, p := s.connect(t, client.Options{Handler: func(m client.Message) { got <- m }})
	p.join(c, "room")
	published := make(chan result, 1)
	go func() {
		r, err := c.Publish(t.Context(), "room", hi)
		published <- result{r, err}
	}()
	r := p.want(contracts.OpPublish, "room")
	if !bytes.Equal(r.Send.Data, hi) {
		t.Errorf("the server got %s", r.Send.Data)
	}
	p.say(`{"id":2,"ok":{"status":"sent","nodes":3}}`, `{"msg":{"from":"alice","group":"room","data":1}}`, msg(2))
	if got, want := <-published, (client.Result{Status: contracts.Sent, Nodes: 3}); got.err != nil || got.Result != want {
		t.Errorf("%+v", got)
	}
	if m := <-got; m.From != "alice" || m.Group != "room" || string(m.Data) != "1" {
		t.Errorf("%+v", m)
	}
	if m := <-got; m.Group != "" {
		t.Errorf("a message to the client alone came as one to %s", m.Group)
	}
	left := p.begin(func() error { return c.Leave(t.Context(), "room") })
	p.done(p.want(contracts.OpLeave, "room"))
	if err := <-left; err != nil {
		t.Error(err)
	}
	p = s.again(t, p)
	publishAsync := make(chan result, 1)
	for c.PublishAsync("room", hi, func(r client.Result, err error) { publishAsync <- result{r, err} }) != nil {
		<-time.After(time.Millisecond) // until it is online
	}
	r = p.want(contracts.OpPublish, "room") // and has joined nothing before
	p.say(fmt.Sprintf(`{"id":%d,"error":{"code":"unknown","message":"x"}}`, r.ID))
	if got := <-publishAsync; !client.MayHaveArrived(got.err) {
		t.Errorf("%+v", got)
	}
}

func TestWhatTheServerWouldRefuseOfAGroupIsNotSent(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	c, p := s.connect(t, client.Options{})
	const bad = `room","x":"`
	_, published := c.Publish(t.Context(), bad, hi)
	_, noData := c.Publish(t.Context(), "room", []byte("[1,\n2]"))
	_, tooLarge := c.Publish(t.Context(), "room", []byte(`"`+strings.Repeat("x", contracts.DefaultMaxFrame)+`"`))
	for name, err := range map[string]error{
		"join": c.Join(t.Context(), bad), "leave": c.Leave(t.Context(), bad), "publish": published,
	} {
		if !errors.Is(err, contracts.ErrInvalidID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !errors.Is(noData, client.ErrInvalidData) || !errors.Is(tooLarge, client.ErrTooLarge) {
		t.Errorf("%v, %v", noData, tooLarge)
	}
	refused := p.begin(func() error { return c.Join(t.Context(), "room") })
	if r := p.want(contracts.OpJoin, "room"); r.ID != 1 {
		t.Errorf("%d requests came before it", r.ID-1)
	}
	p.say(`{"id":1,"error":{"code":"forbidden","message":"no"}}`)
	var answer *contracts.Error
	if err := <-refused; !errors.As(err, &answer) || answer.Code != contracts.CodeForbidden {
		t.Error(err)
	}
	s.again(t, p).join(c) // nothing
}

func TestAJoinWithoutAnAnswerSaysNothingOfAMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Join(ctx, "room"); err != context.DeadlineExceeded { //nolint:errorlint // it is not wrapped
			t.Error(err)
		}
		late := p.next()
		p.done(late) // and is not a member for the client, which was told so
		p = s.again(t, p)
		synctest.Wait()
		if c.State() != client.Online {
			t.Error(c.State())
		}
		p.close(contracts.CloseRestart)
		synctest.Wait()
		if err := c.Join(t.Context(), "room"); !errors.Is(err, client.ErrDisconnected) || strings.Contains(err.Error(), "message") {
			t.Error(err)
		}
		if err := c.Leave(t.Context(), "room"); err != nil {
			t.Errorf("leave while offline: %v", err)
		}
	})
}

func TestItIsInItsGroupsAgainBeforeItIsOnline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		var latest atomic.Pointer[client.StateChange]
		c, p := s.connect(t, client.Options{
			OnState: func(s client.StateChange) { latest.Store(&s) }, MaxFrame: 80, // two joins to a frame
		})
		groups := []contracts.GroupName{"a", "b", "c", "d", "e"}
		p.join(c, groups...)
		for range 2 {
			p = s.again(t, p)
			var joined []contracts.GroupName
			for range groups {
				synctest.Wait()
				if st := c.State(); st != client.Connecting {
					t.Errorf("after %s it is %s", joined, st)
				}
				if err := c.SendAsync("bob", hi, nil); err == nil {
					t.Error("it takes requests")
				}
				r := p.next()
				joined = append(joined, r.Group)
				if len(p.rest) == 0 && len(joined)%2 == 1 && len(joined) < len(groups) {
					t.Errorf("%s alone in a frame", r.Group)
				}
				p.done(r)
			}
			if !slices.Equal(joined, groups) {
				t.Errorf("it joined %s", joined)
			}
			synctest.Wait()
			if last := latest.Load(); last.State != client.Online || last.Err != nil {
				t.Errorf("%+v", last)
			}
			after(time.Minute / 2)
		}
	})
}

func TestAGroupThatIsRefusedAfterABreakIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		var latest atomic.Pointer[client.StateChange]
		c, p := s.connect(t, client.Options{OnState: func(s client.StateChange) { latest.Store(&s) }})
		p.join(c, "a", "b", "c")
		p = s.again(t, p)
		for _, answer := range []string{
			`"error":{"code":"forbidden","message":"no more"}`, `"error":{"code":"rate_limited","message":"later"}`, `"ok":{}`,
		} {
			p.say(fmt.Sprintf(`{"id":%d,%s}`, p.next().ID, answer))
		}
		synctest.Wait()
		want := "join group a again: forbidden: no more\njoin group b again: rate_limited: later"
		if last := latest.Load(); last.State != client.Online || last.Err == nil || last.Err.Error() != want {
			t.Errorf("%s: %v", last.State, last.Err)
		}
		p = s.again(t, p) // what may be allowed later is tried again
		p.done(p.want(contracts.OpJoin, "b"))
		p.done(p.want(contracts.OpJoin, "c"))
		synctest.Wait()
		if last := latest.Load(); last.State != client.Online || last.Err != nil {
			t.Errorf("%s: %v", last.State, last.Err)
		}
	})
}

func TestAServerThatDoesNotAnswerAJoinIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		var latest atomic.Pointer[client.StateChange]
		c, p := s.connect(t, client.Options{OnState: func(s client.StateChange) { latest.Store(&s) }, ConnectTime: 3 * time.Second})
		p.join(c, "room")
		p = s.again(t, p)
		start := time.Now()
		p.want(contracts.OpJoin, "room")
		_ = p.gone()
		synctest.Wait()
		last := latest.Load()
		if took := time.Since(start); took > 3*time.Second || last.State != client.Offline || !strings.Contains(last.Err.Error(), "groups") {
			t.Errorf("after %s: %s, %v", took, last.State, last.Err)
		}
		p = s.accept(t)
		p.ready()
		p.want(contracts.OpJoin, "room")
		p.close(contracts.CloseOverload) // in the midst
		_ = p.gone()
		p = s.accept(t)
		p.ready()
		p.done(p.want(contracts.OpJoin, "room"))
		answered := sendAsyncWhenOnline(t, c)
		p.ok(p.next())
		if got := <-answered; got.err != nil {
			t.Error(got.err)
		}
	})
}

func TestAGroupThatIsLeftWhileItIsJoinedIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		p.join(c, "room", "other")

		p = s.again(t, p)
		other, room := p.want(contracts.OpJoin, "other"), p.want(contracts.OpJoin, "room")
		if err := c.Leave(t.Context(), "room"); err != nil {
			t.Error(err)
		}
		p.done(other)
		p.done(room)
		p.done(p.want(contracts.OpLeave, "room"))

		// The answer to a join comes after a leave that was sent later.
		joined := p.begin(func() error { return c.Join(t.Context(), "room") })
		synctest.Wait()
		left := p.begin(func() error { return c.Leave(t.Context(), "room") })
		join, leave := p.want(contracts.OpJoin, "room"), p.want(contracts.OpLeave, "room")
		p.done(leave)
		p.done(join)
		if err := errors.Join(<-joined, <-left); err != nil {
			t.Error(err)
		}

		p = s.again(t, p)
		p.done(p.want(contracts.OpJoin, "other"))
		answered := sendAsyncWhenOnline(t, c)
		p.ok(p.next()) // and not a join
		if got := <-answered; got.err != nil {
			t.Error(got.err)
		}
	})
}

func TestAClientThatMovesTakesItsGroupsAlong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		p.join(c, "room")
		p.say(`{"moving":{"within_ms":0}}`)
		_ = p.gone()
		p = s.accept(t)
		published := make(chan result, 1)
		if err := c.PublishAsync("room", hi, func(r client.Result, err error) { published <- result{r, err} }); err != nil {
			t.Error(err)
		}
		p.ready()
		p.done(p.want(contracts.OpJoin, "room"))
		r := p.want(contracts.OpPublish, "room")
		p.say(strings.TrimSpace(string(contracts.AppendSent(nil, r.ID, 1))))
		if got := <-published; got.err != nil || got.Nodes != 1 {
			t.Errorf("%+v", got)
		}
	})
}
