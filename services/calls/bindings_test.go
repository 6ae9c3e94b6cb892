package calls

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestTwoEdgesAgreeOnAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table := &tableFake{has: map[contracts.CallKey]contracts.InstanceID{}}
		one, two := newRig(t, table, nil), newRig(t, table, nil)
		defer one.Close()
		defer two.Close()
		for _, r := range []*rig{one, two} {
			r.reports("a", "b", "c", "d")
		}
		check := func(what string) {
			t.Helper()
			for i := range 50 {
				key := contracts.CallKey(fmt.Sprint("k", i))
				one.call(contracts.Call{Key: key})
				two.call(contracts.Call{Key: key})
				a, b := one.bus.take()[0], two.bus.take()[0]
				if a.to != b.to {
					t.Errorf("%s: %s is at %s, and at %s", what, key, a.to, b.to)
				}
				a.answer(`{"data":1}`)
				b.answer(`{"data":1}`)
			}
		}
		check("new")
		asked := table.asked
		check("known")
		if table.asked != asked {
			t.Errorf("the table was asked %d times for what is known", table.asked-asked)
		}
		table.set(func() { table.has = map[contracts.CallKey]contracts.InstanceID{}; table.losses++ })
		check("after the table lost everything")
		if len(table.has) != 50 {
			t.Errorf("the table has %d keys again", len(table.has))
		}
		// One of them finds nobody, and the other hears it.
		var was contracts.InstanceID
		table.set(func() { was = table.has["k0"] })
		one.dead(one.service().find(was), "test")
		two.Missed("s", was, 1)
		check("after one found an instance gone")
		table.set(func() {
			if table.has["k0"] == was {
				t.Errorf("k0 is still at %s", was)
			}
		})
		// Nobody can ask the table: new keys still are at one place.
		table.set(func() { table.err = errors.New("away"); table.has = map[contracts.CallKey]contracts.InstanceID{} })
		for i := range 50 {
			key := contracts.CallKey(fmt.Sprint("new", i))
			one.call(contracts.Call{Key: key})
			two.call(contracts.Call{Key: key})
			if a, b := one.bus.take()[0], two.bus.take()[0]; a.to != b.to {
				t.Errorf("without a table: %s is at %s, and at %s", key, a.to, b.to)
			}
		}
	})
}

func TestAnIdleKeyIsAskedForAgainBeforeTheTableForgetsIt(t *testing.T) {
	t.Parallel()
	bubble(t, func(c *Config) { c.Default.KeyIdle = time.Minute }, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a")
		call := func() {
			t.Helper()
			r.reports("a")
			e := r.call(contracts.Call{Key: "k"})
			r.bus.take()[0].answer(`{"data":1}`)
			if e.outcome != contracts.CallAnswered {
				t.Fatalf("%+v", *e)
			}
		}
		for i, c := range []struct {
			after time.Duration
			asked int
		}{{0, 1}, {10 * time.Second, 1}, {10 * time.Second, 2}, {10 * time.Second, 2}, {50 * time.Second, 3}} {
			<-time.After(c.after)
			call()
			synctest.Wait()
			if r.table.asked != c.asked {
				t.Errorf("%d: the table was asked %d times, not %d", i, r.table.asked, c.asked)
			}
		}
	})
}

func TestKeysAreBounded(t *testing.T) {
	t.Parallel()
	bubble(t, func(c *Config) { c.Keys = 64 }, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a")
		for i := range 1000 {
			r.call(contracts.Call{Key: contracts.CallKey(fmt.Sprint("k", i))})
			r.bus.take()[0].answer(`{"data":1}`)
		}
		if n := r.bindings.len(); n > 64 {
			t.Errorf("%d keys are remembered", n)
		}
	})
}

func TestABindingIsNoYoungerThanTheQuestionForIt(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a")
		r.table.set(func() {
			r.table.answered = func() { r.table.has, r.table.losses = map[contracts.CallKey]contracts.InstanceID{}, 1 } // while its answer is on the way
		})
		for range 2 {
			r.call(contracts.Call{Key: "k"})
			r.bus.take()[0].answer(`{"data":1}`)
		}
		if r.table.set(func() { r.table.answered = nil }); r.table.asked != 2 {
			t.Errorf("the table, which had lost the key, was asked %d times", r.table.asked)
		}
	})
}

func TestAKeyIsNotTakenFromAnInstanceThatHasNotReportedHere(t *testing.T) {
	t.Parallel()
	for _, there := range []bool{true, false} {
		bubble(t, nil, func(t *testing.T, r *rig) {
			t.Helper()
			<-time.After(time.Minute)
			r.reports("a")
			r.table.has["k"] = "new" // another edge has heard of it already
			e := r.call(contracts.Call{Key: "k"})
			if asked := r.bus.take(); len(asked) != 1 || asked[0].to != "new" {
				t.Fatalf("%+v was sent, and not a question to the new instance", asked)
			} else if there {
				asked[0].w.Ended(nil, contracts.StatusTimeout)
				again := r.bus.take()
				r.reports("new")
				again[0].w.Ended(nil, contracts.StatusTimeout)
			} else {
				asked[0].w.Ended(nil, contracts.StatusNobody)
			}
			sent := r.bus.take()
			if len(sent) != 1 || (sent[0].to == "new") != there {
				t.Fatalf("the new instance is there: %t; the call went to %+v", there, sent)
			}
			if sent[0].answer(`{"data":1}`); e.outcome != contracts.CallAnswered {
				t.Errorf("%+v", *e)
			}
		})
	}
}

func TestACallDoesNotWaitForTheTableLongerThanItsTime(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a")
		r.table.set(func() { r.table.slow = time.Second })
		short := r.call(contracts.Call{Key: "k", Timeout: 100 * time.Millisecond})
		for range 2 {
			r.call(contracts.Call{Key: "k"})
		}
		<-time.After(100 * time.Millisecond)
		synctest.Wait()
		if short.outcome != contracts.CallTimeout || short.problem.Unsure {
			t.Errorf("when its time is over: %+v", *short)
		}
		<-time.After(time.Second)
		if sent := r.bus.take(); len(sent) != 2 {
			t.Errorf("%d of two others were sent", len(sent))
		}
	})
}

func TestAKeyThatMovesBecauseItsInstanceIsGoneIsCounted(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a", "b")
		for want := range uint64(2) {
			r.call(contracts.Call{Key: "k"})
			p := r.bus.take()[0]
			p.answer(`{"data":1}`)
			if n := r.service().moved.Load(); n != want {
				t.Errorf("%d keys have moved, not %d", n, want)
			}
			r.dead(r.service().find(p.to), "test")
		}
	})
}

func TestAKeyOfAnInstanceThatDrainsIsFoundWhenNobodyTakesAnythingNew(t *testing.T) {
	t.Parallel()
	for what, others := range map[string]bool{"there is nobody else": false, "the other one is full": true} {
		bubble(t, nil, func(t *testing.T, r *rig) {
			t.Helper()
			r.table.has["k"] = "drains" // by way of another edge
			r.report(contracts.Report{Instance: "drains", Epoch: 1, Draining: true})
			if others {
				r.report(contracts.Report{Instance: "full", Epoch: 1, InFlight: 10, Capacity: 10})
			}
			told := r.call(contracts.Call{Key: "k"})
			if sent := r.bus.take(); len(sent) != 1 || sent[0].to != "drains" {
				t.Errorf("%s: %+v, %+v", what, sent, *told)
			}
			if r.call(contracts.Call{Key: "new"}); len(r.bus.take()) != 0 || r.table.has["new"] != "" {
				t.Errorf("%s: a new key was given to %q", what, r.table.has["new"])
			}
		})
	}
}

func TestKeysOfOneServiceThatTakeLongLeaveRoomForThoseOfOthers(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a")
		r.Reported(contracts.Report{Service: "other", Instance: "a", Epoch: 1, Capacity: 1, Weight: 1, Life: time.Minute}, at("a", 1))
		r.table.set(func() { r.table.slow = time.Second }) // or one instance after the other is looked for in vain
		for i := range 2 * maxPlacings {
			r.call(contracts.Call{Key: contracts.CallKey(fmt.Sprint("k", i))})
		}
		synctest.Wait()
		r.table.set(func() { r.table.slow = 0 })
		var told *contracts.Error
		r.Call(contracts.Call{Service: "other", Key: "k", Data: []byte("1")}, contracts.Task{Client: "alice", ID: 1}, func(_ contracts.CallOutcome, _ []byte, p *contracts.Error) { told = p })
		if sent := r.bus.take(); len(sent) != 1 {
			t.Errorf("%d calls were sent; the other service's was told: %v", len(sent), told)
		}
		<-time.After(2 * time.Second)
		for _, p := range r.bus.take() {
			p.answer(`{"data":1}`)
		}
	})
}
