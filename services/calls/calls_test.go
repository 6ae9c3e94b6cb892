package calls

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What these tests hold are moments that real servers rarely show, so the bus and the table are fakes, and time is fake. The promises on
// real ones are in the folder tests.

// parcel is a call on its way to an instance.
type parcel struct {
	to contracts.InstanceID
	w  broker.CallWaiter
}

// busFake keeps what it is given until the test answers it.
type busFake struct {
	mu        sync.Mutex
	parcels   []parcel
	abandoned []contracts.InstanceID
	missed    []contracts.InstanceID
}

func (b *busFake) Call(_ contracts.ServiceName, i contracts.InstanceID, _ []byte, _ time.Time, w broker.CallWaiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parcels = append(b.parcels, parcel{i, w})
}

func (b *busFake) Abandon(_ contracts.ServiceName, i contracts.InstanceID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.abandoned = append(b.abandoned, i)
}

func (b *busFake) Missed(_ contracts.ServiceName, i contracts.InstanceID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed = append(b.missed, i)
}

func (*busFake) Connected() bool { return true }

// take returns what is on its way.
func (b *busFake) take() []parcel {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.parcels
	b.parcels = nil
	return all
}

// tableFake is a table that several dispatchers may share.
type tableFake struct {
	mu     sync.Mutex
	has    map[contracts.CallKey]contracts.InstanceID
	asked  int
	losses uint64
	err    error
}

func (f *tableFake) Bind(_ context.Context, _ contracts.ServiceName, k contracts.CallKey, take, gone contracts.InstanceID, _ time.Duration) (contracts.InstanceID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.err != nil {
		return "", f.err
	}
	if has := f.has[k]; has != "" && has != gone {
		return has, nil
	}
	f.has[k] = take
	return take, nil
}

func (f *tableFake) Losses() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.losses
}

func (f *tableFake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// ending is what a call was told.
type ending struct {
	outcome contracts.CallOutcome
	data    string
	problem *contracts.Error
}

// rig is a dispatcher with fakes, inside a bubble.
type rig struct {
	*Dispatcher
	bus   *busFake
	table *tableFake
}

func newRig(t *testing.T, table *tableFake, change func(*Config)) *rig {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &rig{New(cfg, table, nil), &busFake{}, table}
	r.Start(t.Context(), r.bus)
	return r
}

// bubble runs a test in fake time.
func bubble(t *testing.T, change func(*Config), f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &tableFake{has: map[contracts.CallKey]contracts.InstanceID{}}, change)
		defer r.Close()
		f(t, r)
	})
}

// reports has instances report.
func (r *rig) reports(ids ...contracts.InstanceID) {
	for _, id := range ids {
		r.Reported(contracts.Report{Service: "s", Instance: id, Epoch: 1, Capacity: 10, Waiting: 10, Weight: 1, Life: contracts.MaxReportLife})
	}
}

// call makes a call, and returns where its ending will stand.
func (r *rig) call(c contracts.Call) *ending {
	e := &ending{}
	c.Service = "s"
	if c.Data == nil {
		c.Data = []byte("1")
	}
	r.Call(c, contracts.Task{Client: "alice", Session: "00112233445566778899aabbccddeeff", ID: 1}, func(o contracts.CallOutcome, data []byte, problem *contracts.Error) {
		if e.outcome != "" {
			panic("told twice")
		}
		*e = ending{o, string(data), problem}
	})
	return e
}

func (p parcel) answer(text string) { p.w.Ended([]byte(text), contracts.StatusDelivered) }

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
		r.Reported(contracts.Report{Service: "s", Instance: "a", Epoch: 1, Capacity: 1 << 19, Weight: 1, Life: contracts.MaxReportLife})
		r.Reported(contracts.Report{Service: "s", Instance: "b", Epoch: 1, Capacity: 1 << 19, Weight: 1, Life: contracts.MaxReportLife})
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
		two.Missed("s", was)
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

func (r *rig) service() *service { return (*r.services.Load())["s"] }

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
				r.Reported(contracts.Report{Service: "s", Instance: "c", Epoch: 1, Capacity: 10, Weight: 2, Life: contracts.MaxReportLife})
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

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`[]`, `{"A":{}}`, `{"a":{"policy":"best"}}`, `{"a":{"key":"data."}}`, `{"a":{"key":"map(data, # + 1)"}}`, `{"a":{"key":"nothing"}}`, `{"a":{"key":"1..1000000000"}}`, `{"a":{"key":"toJSON(data)"}}`, `{"a":{"timeout":"2"}}`,
		`{"a":{"timeout":"2h"}}`, `{"a":{"http":["10.0.0.1:80"]}}`, `{"a":{"http":["http://x/","http://x/"]}}`, `{"a":{"in_flight":-1}}`, `{"a":{"unknown":1}}`,
		`{"a":{"health":"healthz"}}`, `{"a":{"key_idle":"1ms"}}`,
	} {
		services, err := ParseServices([]byte(text))
		if err == nil {
			c := DefaultConfig()
			c.Services = services
			err = c.Validate()
		}
		if err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	c := DefaultConfig()
	var err error
	c.Services, err = ParseServices([]byte(`{"a":{"policy":"hash","key":"data.user ?? client","key_idle":"1m","timeout":"250ms","in_flight":7,"http":["https://x:1/rpc"],"health":"/h"},"b":null}`))
	if err = errors.Join(err, c.Validate()); err != nil {
		t.Error(err)
	}
}
