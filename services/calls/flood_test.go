package calls

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestWhatManyThatAreGoneHadIsGivenUpTogether(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		const starts = 1000
		var had []parcel
		for e := range contracts.Epoch(starts) {
			r.start(e + 1)
			r.bus.take() // the question whether the one before it lives
			p, _ := r.gets(t, "each", e+1)
			had = append(had, p)
		}
		if n := r.former(); n != starts-1 {
			t.Fatalf("%d starts have calls", n)
		}
		<-time.After(lastWords + watchTick)
		r.bus.take()
		r.bus.mu.Lock()
		if r.bus.abandons > 3 || len(r.bus.abandoned) < starts-1 {
			t.Errorf("%d were given up, one by one: %d", len(r.bus.abandoned), r.bus.abandons)
		}
		r.bus.mu.Unlock()
		for _, p := range had {
			p.w.Ended(nil, contracts.StatusUnsure)
		}
		<-time.After(2 * watchTick)
		if n := r.former(); n != 0 {
			t.Errorf("%d starts are remembered", n)
		}
	})
}

func TestInstancesThatAreGoneLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		for i := range maxInstances {
			r.report(contracts.Report{Instance: contracts.InstanceID(fmt.Sprint("old-", i)), Epoch: 1})
		}
		r.report(contracts.Report{Instance: "new", Epoch: 1})
		if r.service().find("new") != nil {
			t.Fatal("there is no bound")
		}
		r.call(contracts.Call{})
		busy := r.bus.take()[0]
		for i := range maxInstances {
			r.report(contracts.Report{Instance: contracts.InstanceID(fmt.Sprint("old-", i)), Epoch: 1, Ended: true})
		}
		r.report(contracts.Report{Instance: "new", Epoch: 1})
		told := r.call(contracts.Call{})
		sent := r.bus.take()
		if len(sent) != 1 || sent[0].to != "new" {
			t.Fatalf("after a thousand others have ended, a call went to %+v: %+v", sent, *told)
		}
		if r.service().find(busy.to) == nil {
			t.Error("one that has a call was forgotten")
		}
		busy.answer(`{"data":1}`)
	})
}

func TestServicesWithoutInstancesLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	bubble(t, func(c *Config) { c.Services = map[contracts.ServiceName]Service{"known": {}} }, func(t *testing.T, r *rig) {
		t.Helper()
		report := func(s contracts.ServiceName) {
			r.Reported(contracts.Report{Service: s, Instance: "a", Epoch: 1, Capacity: 1, Weight: 1, Life: time.Second}, at("a", 1))
		}
		has := func(s contracts.ServiceName) bool { return (*r.services.Load())[s] != nil }
		all := maps.Clone(*r.services.Load())
		for i := range maxServices - 1 {
			name := contracts.ServiceName(fmt.Sprint("old-", i))
			all[name] = newService(r.Dispatcher, name, r.cfg.of(name))
		}
		r.services.Store(&all)
		for name := range all {
			report(name)
		}
		report("new")
		if has("new") || r.counters.ignored.Load() != 1 {
			t.Fatal("there is no bound, or nobody is told of it")
		}
		for name, s := range all {
			s.mu.Lock()
			if name != "old-1" {
				clear(s.instances) // as watch does, later
			}
			s.mu.Unlock()
		}
		report("new")
		if !has("new") || !has("known") || has("old-0") || !has("old-1") {
			t.Error("what was forgotten is not what has no instance")
		}
	})
}

func TestAnInstanceThatFlapsDoesNotFillTheLog(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		var lines bytes.Buffer
		r.log = slog.New(slog.NewTextHandler(&lines, nil))
		for n := range contracts.Epoch(1000) {
			r.start(n + 2)
			<-time.After(lastWords) // as fast as this is told from a late word
			r.start(1)
			r.dead(r.service().find("a"), "test")
		}
		if n := bytes.Count(lines.Bytes(), []byte("\n")); n == 0 || n > 2*logBurst {
			t.Errorf("%d lines were logged", n)
		}
		if n := r.counters.doubles.Load() + r.counters.deaths.Load(); n != 2000 {
			t.Errorf("%d were counted", n)
		}
	})
}

func TestOfEachInstanceTheStartThatGetsWhatIsNewIsListed(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		for n := range 2000 {
			x := contracts.Report{
				Instance: contracts.InstanceID(rune('a' + rand.IntN(10))), Epoch: contracts.Epoch(rand.IntN(3)), Draining: rand.IntN(3) == 0, Ended: rand.IntN(3) == 0,
			}
			if r.report(x); n%7 == 0 {
				r.Missed("s", x.Instance, x.Epoch)
			}
			s := r.service()
			var want []*instance
			for _, id := range slices.Sorted(maps.Keys(s.instances)) {
				if i := s.instances[id]; i.fit.Load() && !i.draining.Load() {
					want = append(want, i)
				}
			}
			if got := *s.open.Load(); !slices.Equal(got, want) {
				t.Fatalf("after %d reports, the last of which was %+v: %d are listed, not %d", n, x, len(got), len(want))
			}
		}
	})
}
