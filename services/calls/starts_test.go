package calls

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// start has a start of the instance a report.
func (r *rig) start(e contracts.Epoch, change ...func(*contracts.Report)) {
	x := contracts.Report{Instance: "a", Epoch: e}
	for _, f := range change {
		f(&x)
	}
	r.report(x)
}

// former is how many starts are remembered that another one has replaced.
func (r *rig) former() int {
	s := r.service()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.former)
}

func ended(x *contracts.Report) { x.Ended = true }

// gets fails unless a call goes to that start of the instance a, and returns it.
func (r *rig) gets(t *testing.T, what string, e contracts.Epoch) (parcel, *ending) {
	t.Helper()
	told := r.call(contracts.Call{})
	sent := r.bus.take()
	if len(sent) != 1 || sent[0].to != "a" || sent[0].epoch != e {
		t.Fatalf("%s: sent %+v, told %+v", what, sent, *told)
	}
	return sent[0], told
}

func TestTheNewestStartOfAnInstanceGetsTheCalls(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		send := func(what string, e contracts.Epoch) {
			t.Helper()
			p, told := r.gets(t, what, e)
			if p.answer(`{"data":1}`); told.outcome != contracts.CallAnswered {
				t.Errorf("%s: %+v", what, *told)
			}
		}
		r.start(5)
		send("at first", 5)
		r.start(6)
		send("after a later start", 6)
		r.start(5)
		send("when an earlier one reports", 6)
		if n := r.counters.doubles.Load(); n != 0 {
			t.Errorf("late words are taken for a second process, %d times", n)
		}
		<-time.After(lastWords)
		r.start(5)
		r.start(5)
		r.start(5, ended)
		if n := r.counters.doubles.Load(); n != 2 {
			t.Errorf("a second process under the id is counted %d times", n)
		}
		r.start(7, ended)
		send("when one reports that has ended", 6)
		r.Missed("s", "a", 5)
		send("when another node misses an earlier one", 6)
		r.dead(r.service().find("a"), "test")
		r.start(5)
		send("when it is gone, and an earlier one still reports", 5)
		r.start(6)
		send("when it is back", 6)
		r.start(6, ended)
		r.start(5)
		send("when it has ended, and an earlier one still reports", 5)
		r.start(6, ended)
		send("when it goes on to report that it has ended", 5)
		r.start(9)
		<-time.After(contracts.MaxReportLife + 2*watchTick)
		r.start(5)
		send("when the report of a later one does not stand any more", 5)
		if n := r.former(); n != 0 {
			t.Errorf("%d starts that have nothing are remembered", n)
		}
	})
}

func TestAStartThatWasReplacedIsGivenUpUnlessItReports(t *testing.T) {
	t.Parallel()
	for what, alive := range map[string]func(r *rig){
		"it hangs": nil, "it reports": func(r *rig) { r.start(1) }, "it is ending": func(r *rig) { r.start(1, ended) },
	} {
		bubble(t, nil, func(t *testing.T, r *rig) {
			t.Helper()
			r.start(1)
			first, told := r.gets(t, what, 1)
			r.start(2)
			if asked := r.bus.take(); len(asked) != 1 || asked[0].to != "a" || asked[0].epoch != 0 {
				t.Fatalf("it was not asked to report: %+v", asked)
			}
			if alive != nil {
				alive(r)
			}
			second, _ := r.gets(t, what, 2)
			<-time.After(lastWords + 2*watchTick)
			r.bus.mu.Lock()
			given := slices.Contains(r.bus.abandoned, at("a", 1))
			if slices.Contains(r.bus.abandoned, at("a", 2)) {
				t.Errorf("%s: the later one was given up", what)
			}
			r.bus.mu.Unlock()
			if given != (alive == nil) {
				t.Errorf("%s: given up: %t", what, given)
			}
			first.w.Ended(nil, contracts.StatusUnsure)
			if told.outcome != contracts.CallLost || !told.problem.Unsure || len(r.bus.take()) != 0 {
				t.Errorf("%s: %+v", what, *told)
			}
			second.answer(`{"data":1}`)
			<-time.After(2 * watchTick)
			if n := r.former(); n != 0 {
				t.Errorf("%d starts are remembered", n)
			}
		})
	}
}

func TestWhatIsFoundOfAnEarlierStartIsNotTakenForTheNext(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		r.start(1)
		for range ejectAfter - 1 {
			p, _ := r.gets(t, "before", 1)
			p.answer(`{"error":{"code":"internal","message":"it fails"}}`)
		}
		nobody, told := r.gets(t, "before", 1)
		fails, _ := r.gets(t, "before", 1)
		r.start(2)
		r.bus.take() // the question whether it lives
		i := r.service().find("a")
		fails.answer(`{"error":{"code":"internal","message":"it fails"}}`)
		if i.share(time.Now().UnixNano()) != 1 || i.load() != 0 {
			t.Error("what the earlier one did, or has, counts")
		}
		nobody.w.Ended(nil, contracts.StatusNobody)
		again := r.bus.take()
		if len(again) != 1 || again[0].epoch != 2 {
			t.Fatalf("a call that nobody got went to %+v", again)
		}
		if again[0].answer(`{"data":1}`); told.outcome != contracts.CallAnswered || len(r.bus.missed) != 0 {
			t.Errorf("%+v; missed %v", *told, r.bus.missed)
		}
	})
}

func TestACallThatWasOnItsWayToAStartGoesToTheOneThatReplacedIt(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		r.start(1)
		was := r.service().find("a")
		first, _ := r.gets(t, "before", 1)
		x := first.w.(*call)
		was.sent.Add(-1) // as if it had not been sent yet
		r.start(2)
		x.goTo(was)
		if sent := r.bus.take(); len(sent) != 1 || sent[0].epoch != 2 {
			t.Errorf("%+v", sent)
		}
	})
}

func TestAnInstanceKeepsItsKeysWhenItIsStartedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table := &tableFake{has: map[contracts.CallKey]contracts.InstanceID{"k": "a"}}
		one, two := newRig(t, table, nil), newRig(t, table, nil)
		defer one.Close()
		defer two.Close()
		send := func(e contracts.Epoch) {
			t.Helper()
			for _, r := range []*rig{one, two} {
				r.call(contracts.Call{Key: "k"})
				sent := r.bus.take()
				if len(sent) != 1 || sent[0].to != "a" || sent[0].epoch != e {
					t.Fatalf("%+v", sent)
				}
				sent[0].answer(`{"data":1}`)
			}
		}
		for _, r := range []*rig{one, two} {
			r.reports("b", "c", "d")
			r.start(1)
		}
		send(1)
		for _, r := range []*rig{one, two} {
			r.start(2)
		}
		send(2)
		one.Missed("s", "a", 1) // some third node found it so before
		send(2)
		if n := one.service().moved.Load(); n != 0 {
			t.Errorf("%d keys have moved", n)
		}
	})
}

func TestAKeyHasNotMovedWhenItsInstanceWasStartedAgainWhileTheTableWasAsked(t *testing.T) {
	t.Parallel()
	bubble(t, func(c *Config) { c.Default.KeyIdle = time.Minute }, func(t *testing.T, r *rig) {
		t.Helper()
		r.start(1)
		for range 2 { // the second time, the table is asked again
			r.call(contracts.Call{Key: "k"})
			r.bus.take()[0].answer(`{"data":1}`)
			<-time.After(20 * time.Second)
			r.table.set(func() { r.table.slow = time.Second })
		}
		r.call(contracts.Call{Key: "k"})
		r.start(2)
		<-time.After(2 * time.Second)
		if n := r.service().moved.Load(); n != 0 {
			t.Errorf("%d keys have moved", n)
		}
		r.bus.take()
	})
}
