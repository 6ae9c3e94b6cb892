package client_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

// told keeps what a client is told of others.
type told struct {
	mu  sync.Mutex
	all []string
}

func (o *told) presence(p client.Presence) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, fmt.Sprintf("%s %v", p.Client, p.Online))
}

// want checks, in a bubble, what was told since the last time.
func (o *told) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(o.all, want) {
		t.Errorf("it was told %q, want %q", o.all, want)
	}
	o.all = nil
}

// online answers a watch.
func (p *peer) online(r contracts.Request, online ...contracts.ClientID) {
	p.t.Helper()
	p.say(strings.TrimSpace(string(contracts.AppendOnline(nil, r.ID, online))))
}

// wantClients returns the next request, which must be this one.
func (p *peer) wantClients(op contracts.Op, clients ...contracts.ClientID) contracts.Request {
	p.t.Helper()
	r := p.next()
	if r.Op != op || !slices.Equal(r.Clients, clients) {
		p.t.Fatalf("the server got %d of %s, not %d of %s", r.Op, r.Clients, op, clients)
	}
	return r
}

// watch makes a client watch others, of whom none is online.
func (p *peer) watch(c *client.Client, clients ...contracts.ClientID) {
	p.t.Helper()
	failed := p.begin(func() error { _, err := c.Watch(p.t.Context(), clients...); return err })
	p.online(p.wantClients(contracts.OpWatch, clients...))
	if err := <-failed; err != nil {
		p.t.Fatal(err)
	}
}

func presence(c contracts.ClientID, online bool) string {
	return strings.TrimSpace(string(contracts.AppendPresence(nil, c, online)))
}

func TestClientsAreWatchedUntilTheyAreNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		var o told
		c, p := s.connect(t, client.Options{OnPresence: o.presence, Handler: func(m client.Message) {
			o.presence(client.Presence{Client: m.From})
		}})
		var online []contracts.ClientID
		watched := p.begin(func() (err error) { online, err = c.Watch(t.Context(), "eve", "bob", "eve"); return err })
		r := p.wantClients(contracts.OpWatch, "bob", "eve")
		p.say(strings.TrimSpace(string(contracts.AppendOnline(nil, r.ID, []contracts.ClientID{"bob"}))), presence("bob", false),
			`{"msg":{"from":"alice","data":1}}`, presence("eve", true), presence("eve", true), presence("nobody", true))
		if err := <-watched; err != nil || !slices.Equal(online, []contracts.ClientID{"bob"}) {
			t.Errorf("%s, %v", online, err)
		}
		o.want(t, "bob true", "eve false", "bob false", "alice false", "eve true")

		left := p.begin(func() error { return c.Unwatch(t.Context(), "bob") })
		r = p.wantClients(contracts.OpUnwatch, "bob")
		p.say(presence("bob", true), presence("eve", false))
		p.done(r)
		if err := <-left; err != nil {
			t.Error(err)
		}
		o.want(t, "eve false")
	})
}

func TestALongListIsWatchedInSeveralRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		var all []contracts.ClientID
		for i := range 2*contracts.MaxWatch + 1 {
			all = append(all, contracts.ClientID(fmt.Sprintf("%04d", i)))
		}
		var online []contracts.ClientID
		watched := p.begin(func() (err error) { online, err = c.Watch(t.Context(), all...); return err })
		for some := range slices.Chunk(all, contracts.MaxWatch) {
			p.online(p.wantClients(contracts.OpWatch, some...), some[0])
		}
		if err := <-watched; err != nil || !slices.Equal(online, []contracts.ClientID{"0000", "0256", "0512"}) {
			t.Errorf("%s, %v", online, err)
		}
		left := p.begin(func() error { return c.Unwatch(t.Context(), all...) })
		for some := range slices.Chunk(all, contracts.MaxWatch) {
			p.done(p.wantClients(contracts.OpUnwatch, some...))
		}
		if err := <-left; err != nil {
			t.Error(err)
		}

		if _, err := c.Watch(t.Context(), "b b"); !errors.Is(err, contracts.ErrInvalidID) {
			t.Error(err)
		}
		if err := c.Unwatch(t.Context(), "b b"); !errors.Is(err, contracts.ErrInvalidID) {
			t.Error(err)
		}
		if online, err := c.Watch(t.Context()); online != nil || err != nil {
			t.Errorf("%s, %v", online, err)
		}
		watched = p.begin(func() error { _, err := c.Watch(t.Context(), "bob"); return err })
		r := p.wantClients(contracts.OpWatch, "bob")
		p.say(fmt.Sprintf(`{"id":%d,"error":{"code":"unavailable","message":"later"}}`, r.ID))
		var answer *contracts.Error
		if err := <-watched; !errors.As(err, &answer) || answer.Code != contracts.CodeUnavailable {
			t.Error(err)
		}
		p = s.again(t, p)
		answered := sendAsyncWhenOnline(t, c)
		p.ok(p.next()) // and not a watch
		if got := <-answered; got.err != nil {
			t.Error(got.err)
		}
	})
}

func TestWhatChangesWithoutAConnectionIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		var o told
		c, p := s.connect(t, client.Options{OnPresence: o.presence, MaxFrame: overheadAndTwo})
		watched := p.begin(func() error { _, err := c.Watch(t.Context(), "a", "b", "c"); return err })
		p.online(p.wantClients(contracts.OpWatch, "a", "b"), "a")
		p.online(p.wantClients(contracts.OpWatch, "c"), "c")
		if err := <-watched; err != nil {
			t.Error(err)
		}
		o.want(t, "a true", "b false", "c true")
		p = s.again(t, p)
		r := p.wantClients(contracts.OpWatch, "a", "b")
		if st := c.State(); st != client.Connecting {
			t.Error(st)
		}
		if err := c.Unwatch(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		p.online(r, "b")
		p.online(p.wantClients(contracts.OpWatch, "c"), "c")
		p.done(p.wantClients(contracts.OpUnwatch, "b"))
		o.want(t, "a false")
		if st := c.State(); st != client.Online {
			t.Error(st)
		}
		p = s.again(t, p)
		p.online(p.wantClients(contracts.OpWatch, "a", "c"), "a")
		o.want(t, "a true", "c false")
	})
}

// overheadAndTwo bounds a frame to a watch of two clients with a name of one byte.
const overheadAndTwo = 64 + 2*4

func TestWhomItCannotWatchAgainItTriesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		var (
			o      told
			latest atomic.Pointer[client.StateChange]
		)
		c, p := s.connect(t, client.Options{
			OnPresence: o.presence, OnState: func(s client.StateChange) { latest.Store(&s) }, MaxFrame: overheadAndTwo,
			ConnectTime: 3 * time.Second,
		})
		p.watch(c, "a", "b")
		p.watch(c, "c")
		o.want(t, "a false", "b false", "c false")
		p = s.again(t, p)
		for _, code := range []contracts.Code{contracts.CodeUnavailable, contracts.CodeForbidden} {
			p.say(fmt.Sprintf(`{"id":%d,"error":{"code":"%s","message":"no"}}`, p.next().ID, code))
		}
		synctest.Wait()
		want := "watch a and 1 more again: unavailable: no\nwatch c again: forbidden: no"
		if last := latest.Load(); last.State != client.Online || last.Err == nil || last.Err.Error() != want {
			t.Errorf("%s: %v", last.State, last.Err)
		}
		r := p.wantClients(contracts.OpWatch, "a", "b") // by itself, after a while
		p.say(fmt.Sprintf(`{"id":%d,"error":{"code":"unavailable","message":"no"}}`, r.ID))
		p.online(p.wantClients(contracts.OpWatch, "a", "b"), "b")
		o.want(t, "b true")
		after(time.Minute / 2)

		p = s.again(t, p)
		p.wantClients(contracts.OpWatch, "a", "b") // and no answer
		_ = p.gone()
		synctest.Wait()
		if last := latest.Load(); last.State != client.Offline || !strings.Contains(last.Err.Error(), "watching") {
			t.Errorf("%s: %v", last.State, last.Err)
		}
		p = s.accept(t)
		p.ready()
		p.online(p.wantClients(contracts.OpWatch, "a", "b"), "a")
		o.want(t, "a true", "b false")
	})
}
