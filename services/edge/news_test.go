package edge

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// toldOf is what was told, in order.
type toldOf struct {
	mu  sync.Mutex
	all []string
}

func (n *toldOf) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, s)
}

// after returns what was told within some time.
func (n *toldOf) after(d time.Duration) string {
	<-time.After(d)
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	said := fmt.Sprint(n.all)
	n.all = nil
	return said
}

// hear makes an edge tell its news.
func hear(e *Edge) *toldOf {
	n := &toldOf{}
	e.news.told = News{
		Connected:    func(c contracts.ClientID, _ contracts.SessionID) { n.add("+" + string(c)) },
		Disconnected: func(c contracts.ClientID) { n.add("-" + string(c)) },
		Undelivered: func(to contracts.ClientID, frame []byte) {
			n.add("?" + string(to) + " " + string(contracts.MsgOf(frame)))
		},
	}
	return n
}

func TestAClientIsGoneWhenTheLingerIsOverAndNotBefore(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
		t.Helper()
		n, linger := hear(e), e.cfg.Linger
		expect := func(d time.Duration, want string) {
			t.Helper()
			if got := n.after(d); got != want {
				t.Errorf("told of %s, not %s", got, want)
			}
		}
		one := connect(e, "bob")
		expect(0, "[+bob]")
		two := connect(e, "bob")
		expect(0, "[]")
		one.disconnected()
		expect(2*linger, "[]")
		two.disconnected()
		expect(linger-newsTick, "[]")
		expect(3*newsTick, "[-bob]")

		// A reconnect within the linger is none, here or elsewhere.
		again := connect(e, "bob")
		expect(0, "[+bob]")
		again.disconnected()
		expect(linger-2*newsTick, "[]")
		again = connect(e, "bob")
		expect(2*linger, "[]")
		again.disconnected()
		expect(linger-2*newsTick, "[]")
		d.moved("bob", "a2")
		expect(2*linger, "[]")

		// While another node has the client, it is for that one to tell.
		eve := connect(e, "eve")
		expect(0, "[+eve]")
		d.moved("eve", "a2")
		eve.disconnected()
		synctest.Wait()
		d.wipe()
		expect(2*linger, "[]")
	})
}

func TestAClientThatWasElsewhereMeanwhileIsLeftToThatNode(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
		t.Helper()
		n, linger := hear(e), e.cfg.Linger
		bob := connect(e, "bob")
		n.after(0)
		bob.disconnected()
		n.after(linger / 2)
		d.moved("bob", "a2")
		e.Changed(contracts.ClientID("bob").Address(), ignored{}, 0) // as that node does
		n.after(linger / 4)
		d.wipe() // it has left that one, too, whose linger begins
		if got := n.after(2 * linger); got != "[]" {
			t.Errorf("told of %s", got)
		}
	})
}

func TestAClientThatWasBackDuringTheLookupGetsAnotherLinger(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, _ *directoryFake, _ *courierFake) {
		t.Helper()
		n := hear(e)
		bob := connect(e, "bob")
		n.after(0)
		bob.disconnected()
		synctest.Wait()
		e.news.settle("bob", time.Now(), false) // looked up before it was back, and has left again
		if got := n.after(e.cfg.Linger / 2); got != "[]" {
			t.Errorf("told of %s within the linger", got)
		}
		if got := n.after(e.cfg.Linger); got != "[-bob]" {
			t.Errorf("told of %s", got)
		}
	})
}

func TestNobodyIsCalledGoneByADirectoryThatMayHaveLostThem(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
		t.Helper()
		n := hear(e)
		bob, eve := connect(e, "bob"), connect(e, "eve")
		n.after(0)
		d.doubted.Store(true)
		bob.disconnected()
		eve.disconnected()
		if got := n.after(10 * e.cfg.Linger); got != "[]" {
			t.Errorf("told of %s while nothing is known", got)
		}
		d.moved("eve", "a2")
		d.doubted.Store(false)
		if got := n.after(time.Second); got != "[-bob]" {
			t.Errorf("told of %s", got)
		}
	})
}

func TestAMessageForNobodyIsToldOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, _ *directoryFake, _ *courierFake) {
		t.Helper()
		n := hear(e)
		alice := connect(e, "alice")
		n.after(0)
		alice.handle(contracts.AppendSend(nil, 1, "bob", []byte(`{"a": 1}`)))
		alice.handle(contracts.AppendSend(nil, 2, "alice", []byte(`2`)))
		alice.handle(contracts.AppendPublish(nil, 3, "nobodies", []byte(`3`)))
		if got := n.after(time.Second); got != `[?bob {"from":"alice","data":{"a": 1}}]` {
			t.Errorf("told of %s", got)
		}
	})
}

func TestABackendIsAnsweredByANodeThatHasStopped(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, _ *courierFake) {
		t.Helper()
		e.Close(t.Context())
		var got []contracts.Outcome
		e.Post("shop", []contracts.Address{contracts.ClientID("bob").Address(), contracts.GroupName("g").Address()}, []byte(`1`),
			func(_ int, o contracts.Outcome, _ int) { got = append(got, o) })
		if fmt.Sprint(got) != "[unavailable unavailable]" {
			t.Error(got)
		}
		if _, _, problem := e.MembersOf(contracts.MembersQuery{Group: "g", Limit: 1}); problem == nil {
			t.Error("it knows its members")
		}
		d.put(contracts.ClientID("bob").Address(), contracts.Entry{Session: contracts.NewSessionID(), Node: "a2"})
		if _, problem := e.Disconnect(t.Context(), "bob", "", contracts.CloseForbidden); problem == nil || !errors.Is(problem, errUnavailable) {
			t.Error(problem)
		}
	})
}
