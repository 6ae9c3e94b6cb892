package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// What becomes of clients while the directory fails in part, for a moment, or is in doubt.

// recordingConnection keeps what is written, and hangs on demand.
type recordingConnection struct {
	connectionFake

	mu    sync.Mutex
	said  strings.Builder // guarded by mu
	hangs bool            // guarded by mu
}

func (c *recordingConnection) Write(buf []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said.Write(buf[headroom:])
	c.said.WriteByte('\n')
	return !c.hangs
}

func (c *recordingConnection) hang(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangs = yes
}

func (c *recordingConnection) has(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(c.said.String(), text)
}

// loggedIn logs a client in whose connection keeps what is written.
func loggedIn(e *Edge, name contracts.ClientID) (*Session, *recordingConnection) {
	e.open.Add(1)
	e.strange.Add(1)
	c := &recordingConnection{}
	s := newSession(e, c)
	c.s = s
	s.login(Identity{Client: name, Send: everything{}, Watch: everything{}, Groups: everything{}}, "")
	synctest.Wait()
	return s, c
}

func TestLoginIsNotHeldUpForEverByAPartOfTheDirectory(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
		t.Helper()
		bob := contracts.ClientID("bob")
		d.hooks(func(a contracts.Address) error {
			if a == bob.Address() {
				return errLost
			}
			return nil
		}, nil)
		_, c := loggedIn(e, bob)
		for i := range 10 { // others are recorded all the time
			<-time.After(e.blip / 4)
			connect(e, contracts.ClientID(fmt.Sprint("other", i)))
		}
		synctest.Wait()
		if !c.has("ready") {
			t.Error("bob is not let in")
		}
	})
}

func TestNobodyIsLetInUnrecordedAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
		t.Helper()
		d.hooks(fails, nil)
		s, _ := loggedIn(e, "ann")
		s.disconnected() // gives up
		d.hooks(nil, nil)
		<-time.After(time.Hour)
		d.hooks(fails, nil)
		_, c := loggedIn(e, "bob") // no time passes
		if c.has("ready") {
			t.Error("bob was let in at the first failure")
		}
		<-time.After(2 * e.blip)
		if synctest.Wait(); !c.has("ready") {
			t.Error("bob is not let in when the directory stays away")
		}
	})
}

func TestJoinIsNotAnsweredUnrecordedAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
		t.Helper()
		s, c := loggedIn(e, "ann")
		d.hooks(func(contracts.Address) error { d.wipe(); return errLost }, nil)
		s.joinGroup(&contracts.Request{ID: 5, HasID: true, Group: "room"})
		if synctest.Wait(); c.has(`"id":5`) {
			t.Error("the join was answered at the first failure")
		}
		<-time.After(2 * e.blip)
		if synctest.Wait(); !c.has(`"id":5`) {
			t.Error("the join is not answered when the directory stays away")
		}
	})
}

func TestWatchIsAnsweredOrTheSessionEnds(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, _ *directoryFake, _ *courierFake) {
		t.Helper()
		s, c := loggedIn(e, "ann")
		c.hang(true)
		s.push([]byte("{}\n"), receipt{})
		full := append([]byte(strings.Repeat("x", e.cfg.QueueBytes-10)), '\n')
		if st := s.push(full, receipt{}); st != 0 {
			t.Fatal(st)
		}
		s.observe(77, []contracts.ClientID{"bob"})
		synctest.Wait()
		c.hang(false)
		s.written() // it goes on to read
		<-time.After(time.Minute)
		synctest.Wait()
		if s.goesOn() && !c.has(`"id":77`) {
			t.Error("the session goes on, and its request is never answered")
		}
	})
}

// doubtfulDirectory says of what it does not have that this proves nothing.
type doubtfulDirectory struct{ *directoryFake }

type doubts map[int]bool

func (doubts) Error() string         { return "in doubt" }
func (d doubts) FailedAt(i int) bool { return d[i] }
func (doubts) Doubtful() bool        { return true }
func (doubts) Away() bool            { return false }
func (doubts) Elsewhere(int) bool    { return false }

func (d doubtfulDirectory) Lookup(ctx context.Context, as []contracts.Address) ([][]contracts.Entry, error) {
	found, err := d.directoryFake.Lookup(ctx, as)
	missing := doubts{}
	for i := range as {
		if len(found[i]) == 0 {
			missing[i] = true
		}
	}
	if len(missing) > 0 {
		err = errors.Join(err, missing)
	}
	return found, err
}

func TestFriendsWhoAreThereAreFoundAmongManyWhoAreInDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &directoryFake{restored: make(chan struct{}, 1), records: map[contracts.Address]map[contracts.SessionID]contracts.Entry{}}
		e := New(DefaultConfig(), Options{Cluster: "a", Node: "a1", Epoch: 1, Directory: doubtfulDirectory{d}})
		e.Start(t.Context(), &courierFake{})
		s, c := loggedIn(e, "ann")
		d.moved("bob", "a2")
		away := make([]contracts.ClientID, friendsBatch)
		for i := range away {
			away[i] = contracts.ClientID(fmt.Sprint("away", i))
		}
		s.observe(1, away)
		s.observe(2, []contracts.ClientID{"bob"})
		synctest.Wait()
		if !c.has(`"online":["bob"]`) {
			t.Error("bob is there, and nobody says so")
		}
		e.Close(context.WithoutCancel(t.Context()))
	})
}

// changingDirectory has an address change while it is being looked up.
type changingDirectory struct {
	*directoryFake
	during func()
}

func (d *changingDirectory) Lookup(ctx context.Context, as []contracts.Address) ([][]contracts.Entry, error) {
	found, err := d.directoryFake.Lookup(ctx, as)
	if during := d.during; during != nil {
		d.during = nil
		during()
	}
	return found, err
}

func TestNobodyIsOfflineByAnAnswerThatWasOvertaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &changingDirectory{directoryFake: &directoryFake{
			restored: make(chan struct{}, 1), records: map[contracts.Address]map[contracts.SessionID]contracts.Entry{},
		}}
		courier := &courierFake{}
		e := New(DefaultConfig(), Options{Cluster: "a", Node: "a1", Epoch: 1, Directory: d})
		e.Start(t.Context(), courier)
		s, c := loggedIn(e, "ann")
		d.during = func() { // bob connects elsewhere, which this node is told of
			d.moved("bob", "a2")
			e.Changed(contracts.ClientID("bob").Address(), ignored{}, 0)
		}
		s.handle([]byte(`{"id":1,"send":{"to":"bob","data":1}}`))
		synctest.Wait()
		if c.has("offline") {
			t.Error("bob was said to be offline")
		}
		sent := courier.take()
		if len(sent) != 1 || sent[0].node != "a2" {
			t.Fatalf("the message went to %v", sent)
		}
		sent[0].w.Answered(sent[0].id, contracts.StatusDelivered)
		if synctest.Wait(); !c.has("delivered") {
			t.Error("it is not answered")
		}
		e.Close(context.WithoutCancel(t.Context()))
	})
}
