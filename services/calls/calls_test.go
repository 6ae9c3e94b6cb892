package calls

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestOnlyProofThatNobodyHasItSendsACallAgain(t *testing.T) {
	t.Parallel()
	for st, again := range map[contracts.Status]bool{
		contracts.StatusNobody: true, contracts.StatusTimeout: false, contracts.StatusUnsure: false, contracts.StatusUnavailable: false,
	} {
		bubble(t, nil, func(t *testing.T, r *rig) {
			t.Helper()
			r.reports("a", "b")
			e := r.call(contracts.Call{})
			first := r.bus.take()[0]
			first.w.Ended(nil, st)
			second := r.bus.take()
			if (len(second) == 1) != again {
				t.Fatalf("after %s: %d more were sent", st, len(second))
			}
			if !again {
				if e.problem == nil || (st != contracts.StatusUnavailable) != e.problem.Unsure {
					t.Errorf("after %s: %+v", st, *e)
				}
				return
			}
			if second[0].to == first.to {
				t.Errorf("after %s: it went to %s again", st, first.to)
			}
			second[0].answer(`{"data":5}`)
			if e.outcome != contracts.CallAnswered || e.data != "5" {
				t.Errorf("%+v", *e)
			}
		})
	}
}

func TestAnInstanceThatRefusesIsProof(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a", "b")
		keyless, keyed := r.call(contracts.Call{}), r.call(contracts.Call{Key: "k"})
		for _, p := range r.bus.take() {
			p.answer(`{"refused":"busy"}`)
		}
		left := r.bus.take()
		if len(left) != 1 || keyed.outcome != contracts.CallUnavailable || keyed.problem.Unsure {
			t.Fatalf("%d were sent again; with a key: %+v", len(left), *keyed)
		}
		left[0].answer(`{"data":1}`)
		if keyless.outcome != contracts.CallAnswered {
			t.Errorf("%+v", *keyless)
		}
	})
}

func TestRetriesHaveABudget(t *testing.T) {
	t.Parallel()
	bubble(t, func(c *Config) { c.Default.InFlight = 100_000 }, func(t *testing.T, r *rig) {
		t.Helper()
		r.report(contracts.Report{Instance: "a", Epoch: 1, Capacity: 1 << 19})
		r.report(contracts.Report{Instance: "b", Epoch: 1, Capacity: 1 << 19})
		const calls = 2000
		sent := 0
		for range calls {
			r.call(contracts.Call{})
			for all := r.bus.take(); len(all) > 0; all = r.bus.take() {
				sent += len(all)
				for _, p := range all {
					p.answer(`{"refused":"busy"}`)
				}
			}
		}
		if retries := sent - calls; retries < calls/10 || retries > calls*retryShare/10+retryMost/10 {
			t.Errorf("%d calls that nobody took were tried again %d times", calls, retries)
		}
	})
}

func TestAnInstanceThatFailsIsLeftAloneForAWhile(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a", "b", "c")
		share := func() (toA int) {
			for range 300 {
				r.call(contracts.Call{})
				for _, p := range r.bus.take() {
					if p.to == "a" {
						toA++
					}
					p.answer(`{"data":1}`)
				}
			}
			return toA
		}
		if n := share(); n < 60 {
			t.Errorf("it got %d of 300 calls before", n)
		}
		for failed := 0; failed < ejectAfter; {
			r.call(contracts.Call{})
			for _, p := range r.bus.take() {
				if p.to == "a" {
					failed++
					p.answer(`{"error":{"code":"internal","message":"it fails"}}`)
					continue
				}
				p.answer(`{"data":1}`)
			}
		}
		if n := share(); n != 0 {
			t.Errorf("it got %d of 300 calls after it had failed", n)
		}
		<-time.After(ejectFirst + ejectSlow/10)
		r.reports("a", "b", "c")
		if n := share(); n == 0 || n > 60 {
			t.Errorf("it got %d of 300 calls when it came back", n)
		}
		<-time.After(ejectSlow)
		r.reports("a", "b", "c")
		if n := share(); n < 60 {
			t.Errorf("it got %d of 300 calls after a while", n)
		}
	})
}

func TestPoliciesChooseAsTheySay(t *testing.T) {
	t.Parallel()
	for policy, check := range map[Policy]func(t *testing.T, got map[contracts.InstanceID]int){
		RoundRobin: func(t *testing.T, got map[contracts.InstanceID]int) {
			t.Helper()
			if got["a"] != 100 || got["b"] != 100 || got["c"] != 100 {
				t.Errorf("%v", got)
			}
		},
		Weighted: func(t *testing.T, got map[contracts.InstanceID]int) {
			t.Helper()
			if got["c"] < got["a"] || got["c"] < got["b"] || got["c"] < 120 {
				t.Errorf("one with twice the weight of another got %v", got)
			}
		},
		Hash: func(t *testing.T, got map[contracts.InstanceID]int) {
			t.Helper()
			if len(got) != 1 {
				t.Errorf("calls of one client without a key went to %v", got)
			}
		},
		LeastInflight: func(t *testing.T, got map[contracts.InstanceID]int) {
			t.Helper()
			if got["a"] < 80 || got["b"] < 80 || got["c"] < 80 {
				t.Errorf("%v", got)
			}
		},
	} {
		bubble(t, func(c *Config) { c.Default.Policy = policy }, func(t *testing.T, r *rig) {
			t.Helper()
			r.reports("a", "b", "c")
			if policy == Weighted {
				r.report(contracts.Report{Instance: "c", Epoch: 1, Weight: 2})
			}
			got := map[contracts.InstanceID]int{}
			for range 300 {
				r.call(contracts.Call{})
				p := r.bus.take()[0]
				got[p.to]++
				p.answer(`{"data":1}`)
			}
			check(t, got)
		})
	}
}

func TestWhatAServiceHasInFlightIsBounded(t *testing.T) {
	t.Parallel()
	bubble(t, func(c *Config) { c.Default.InFlight = 5 }, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a")
		var endings []*ending
		for range 6 {
			endings = append(endings, r.call(contracts.Call{}))
		}
		if e := endings[5]; e.outcome != contracts.CallUnavailable || e.problem.Unsure {
			t.Errorf("the sixth: %+v", *e)
		}
		for _, p := range r.bus.take() {
			p.answer(`{"data":1}`)
		}
		if r.call(contracts.Call{}); len(r.bus.take()) != 1 {
			t.Error("there is no room after that")
		}
	})
}

func TestACallThatFindsNoRoomIsNotToldThatNobodyIsThere(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		for _, want := range []*contracts.Error{errNoService, errBusy} {
			for _, key := range []contracts.CallKey{"", "new"} {
				e := r.call(contracts.Call{Key: key})
				if r.bus.take(); e.problem != want {
					t.Errorf("with key %q: %v, and not %v", key, e.problem, want)
				}
			}
			r.report(contracts.Report{Instance: "a", Epoch: 1, InFlight: 10, Capacity: 10})
		}
		if n := len(r.table.has); n != 0 {
			t.Errorf("%d keys were given to an instance without room", n)
		}
	})
}

func TestAClientThatLeavesNoTimeHasNoInstanceEjected(t *testing.T) {
	t.Parallel()
	for timeout, ejected := range map[time.Duration]bool{time.Millisecond: false, 0: true} {
		bubble(t, nil, func(t *testing.T, r *rig) {
			t.Helper()
			r.reports("a")
			for range ejectAfter {
				r.call(contracts.Call{Timeout: timeout})
				p := r.bus.take()[0]
				<-time.After(timeout)
				if timeout == 0 {
					<-time.After(r.cfg.Default.Timeout - time.Millisecond) // less what went by before it was sent
				}
				p.w.Ended(nil, contracts.StatusTimeout)
			}
			if got := r.counters.ejections.Load() > 0; got != ejected {
				t.Errorf("after calls with a time of %v that had no answer: ejected %t", timeout, got)
			}
		})
	}
}

func TestATryThatComesTooLateDoesNotMakeTheFirstUndone(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		r.reports("a", "b")
		e := r.call(contracts.Call{Key: "k", Idempotent: true, Timeout: time.Second})
		p := r.bus.take()[0]
		r.table.set(func() { r.table.slow = 2 * time.Second })
		r.service().gone(r.service().find(p.to))
		p.w.Ended(nil, contracts.StatusUnsure)
		<-time.After(3 * time.Second)
		synctest.Wait()
		if e.outcome != contracts.CallTimeout || !e.problem.Unsure {
			t.Errorf("%+v", *e)
		}
	})
}

func TestANodeThatWasCutOffAsksWhoIsThere(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		for _, cut := range []bool{true, false, false} {
			r.bus.cut.Store(cut)
			<-time.After(2 * watchTick)
		}
		if n := r.bus.rolls.Load(); n != 1 {
			t.Errorf("it asked %d times", n)
		}
	})
}
