package edge

import (
	"testing"
	"testing/synctest"

	"github.com/beeline-rt/beeline/contracts"
)

// callerFake keeps what it is called with until the test answers it.
type callerFake struct {
	calls []contracts.Call
	from  []contracts.Task
	done  []func(contracts.CallOutcome, []byte, *contracts.Error)
}

func (c *callerFake) Call(call contracts.Call, from contracts.Task, done func(contracts.CallOutcome, []byte, *contracts.Error)) {
	c.calls, c.from, c.done = append(c.calls, call), append(c.from, from), append(c.done, done)
}

// keeping is a connection that keeps what is written to it.
type keeping struct {
	connectionFake
	got []string
}

func (k *keeping) Write(b []byte) bool {
	k.got = append(k.got, string(b[headroom:]))
	return true
}

func connectKeeping(e *Edge, name contracts.ClientID) (*Session, *keeping) {
	e.open.Add(1)
	e.strange.Add(1)
	k := &keeping{}
	s := newSession(e, k)
	k.s = s
	s.login(Identity{Client: name, Call: everything{}}, "")
	synctest.Wait()
	k.got = nil // ready
	return s, k
}

func TestAnAnswerReachesTheConnectionThatCalledAndNoOther(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, _ *directoryFake, _ *courierFake) {
		t.Helper()
		caller := &callerFake{}
		e.caller = caller
		alice, toAlice := connectKeeping(e, "alice")
		phone, toPhone := connectKeeping(e, "alice") // another connection of hers, with the same request id
		bob, toBob := connectKeeping(e, "bob")
		for _, s := range []*Session{alice, phone, bob} {
			s.handle([]byte(`{"id":7,"call":{"service":"s","data":1}}`))
		}
		for i, want := range []*Session{alice, phone, bob} {
			if f := caller.from[i]; f.Client != want.identity.Client || f.Session != want.id || f.ID != 7 {
				t.Errorf("call %d is from %+v", i, f)
			}
		}
		caller.done[2](contracts.CallAnswered, []byte(`"bob's"`), nil)
		caller.done[0](contracts.CallTimeout, nil, &contracts.Error{Code: contracts.CodeTimeout, Message: "m", Unsure: true})
		synctest.Wait()
		if len(toBob.got) != 1 || toBob.got[0] != `{"id":7,"ok":{"data":"bob's"}}` {
			t.Errorf("bob got %q", toBob.got)
		}
		if len(toAlice.got) != 1 || toAlice.got[0] != `{"id":7,"error":{"code":"timeout","message":"m","unsure":true}}` {
			t.Errorf("alice got %q", toAlice.got)
		}
		// One whose connection has ended reaches nobody, and is counted.
		go phone.disconnected()
		synctest.Wait()
		caller.done[1](contracts.CallAnswered, []byte("1"), nil)
		synctest.Wait()
		if len(toPhone.got) != 0 || len(toAlice.got) != 1 {
			t.Errorf("after the connection's end: %q, %q", toPhone.got, toAlice.got)
		}
		if n := alice.calls.Load() + phone.calls.Load() + bob.calls.Load(); n != 0 {
			t.Errorf("%d calls are still under way", n)
		}
		go alice.disconnected()
		go bob.disconnected()
		synctest.Wait()
	})
}
