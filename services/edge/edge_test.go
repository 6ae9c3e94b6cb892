package edge

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

var errLost = errors.New("it was carried out, and the answer was lost")

func fails(contracts.Address) error { return errLost }

func TestMessageThatComesBackIsNotOvertaken(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, c *courierFake) {
		t.Helper()
		alice := connect(e, "alice")
		synctest.Wait()
		bob := contracts.ClientID("bob")
		send := func(i int) {
			e.routes.route(&message{s: alice, id: uint64(i), to: bob.Address(), frame: fmt.Appendf(nil, "%d\n", i)})
			synctest.Wait()
		}
		d.moved(bob, "a2")
		send(1)
		first := c.take()
		if len(first) != 1 || first[0].node != "a2" {
			t.Fatalf("the first message went to %v", first)
		}
		d.moved(bob, "a3")
		e.routes.changed(bob.Address())
		send(2)
		if early := c.take(); len(early) != 0 {
			t.Fatalf("the second message went ahead: %v", early)
		}
		first[0].w.Answered(first[0].id, contracts.StatusNotHere)
		synctest.Wait()
		rest := c.take()
		if len(rest) != 2 || rest[0].frame != "1\n" || rest[1].frame != "2\n" || rest[0].node != "a3" || rest[1].node != "a3" {
			t.Fatalf("then went %v", rest)
		}
		for _, p := range rest {
			p.w.Answered(p.id, contracts.StatusDelivered)
		}
	})
}

func TestReconnectToTheSameNodeIsToldEvenIfTheOldSessionWasStillJoining(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, c *courierFake) {
		t.Helper()
		d.watchers = []contracts.NodeID{"a2"}
		entered := make(chan struct{})
		release := make(chan struct{})
		d.hooks(func(contracts.Address) error {
			select {
			case entered <- struct{}{}:
				<-release // the first session's answer is slow
			default:
			}
			return nil
		}, nil)
		old := connect(e, "bob")
		<-entered
		old.disconnected() // before it was ready
		connect(e, "bob")
		synctest.Wait()
		c.mu.Lock()
		told := len(c.told)
		c.mu.Unlock()
		close(release)
		if told == 0 {
			t.Error("bob is ready, and the node that watches him was not told")
		}
	})
}

func TestGroupIsRecordedForCertain(t *testing.T) {
	t.Parallel()
	room := contracts.GroupName("room")
	t.Run("after a removal whose answer was lost", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
			t.Helper()
			s := connect(e, "bob")
			synctest.Wait()
			s.joinGroup(&contracts.Request{ID: 1, HasID: true, Group: room})
			synctest.Wait()
			d.hooks(nil, fails)
			s.leaveGroup(&contracts.Request{ID: 2, HasID: true, Group: room})
			synctest.Wait()
			d.hooks(nil, nil)
			s.joinGroup(&contracts.Request{ID: 3, HasID: true, Group: room})
			<-time.After(2 * tidyWait)
			synctest.Wait()
			if d.entries(room.Address()) != 1 {
				t.Error("the group has a member, and no entry")
			}
		})
	})
	t.Run("after a record whose answer was lost", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
			t.Helper()
			s := connect(e, "bob")
			synctest.Wait()
			d.hooks(fails, nil)
			s.joinGroup(&contracts.Request{ID: 1, HasID: true, Group: room})
			synctest.Wait()
			s.leaveGroup(&contracts.Request{ID: 2, HasID: true, Group: room})
			<-time.After(2 * tidyWait)
			synctest.Wait()
			if d.entries(room.Address()) != 0 {
				t.Error("nobody is in the group, and its entry is left")
			}
		})
	})
}

func TestSessionRecordedDuringAWipeIsRecordedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
		t.Helper()
		bob := contracts.ClientID("bob")
		wiped := false
		d.hooks(func(contracts.Address) error {
			if !wiped { // behind the write, and before its answer is taken in
				wiped = true
				d.wipe()
				d.restored <- struct{}{}
				<-time.After(10 * time.Millisecond)
			}
			return nil
		}, nil)
		connect(e, bob)
		<-time.After(4 * tidyWait)
		synctest.Wait()
		if d.entries(bob.Address()) != 1 {
			t.Error("bob is connected, and has no record")
		}
	})
}

func TestTallyTellsTheWholeOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		parts []contracts.Status
		want  contracts.Status
	}{
		{[]contracts.Status{contracts.StatusNotHere, contracts.StatusDelivered}, contracts.StatusDelivered},
		{[]contracts.Status{contracts.StatusDelivered, contracts.StatusTimeout}, contracts.StatusDelivered},
		{[]contracts.Status{contracts.StatusNotHere, contracts.StatusTimeout}, contracts.StatusTimeout},
		{[]contracts.Status{contracts.StatusOverload, contracts.StatusUnsure}, contracts.StatusUnsure},
		{[]contracts.Status{contracts.StatusNobody, contracts.StatusUnavailable}, contracts.StatusUnavailable},
		{[]contracts.Status{contracts.StatusNotHere, contracts.StatusNobody}, contracts.StatusNotHere},
	} {
		var got []contracts.Status
		whole := newTally(waiterFunc(func(s contracts.Status) { got = append(got, s) }), 0, len(test.parts))
		for _, s := range test.parts {
			whole.Answered(0, s)
		}
		if len(got) != 1 || got[0] != test.want {
			t.Errorf("%v make %v, not %v once", test.parts, got, test.want)
		}
	}
}

type waiterFunc func(contracts.Status)

func (f waiterFunc) Answered(_ uint64, s contracts.Status) { f(s) }
