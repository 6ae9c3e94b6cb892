package calls

import (
	"context"
	"sync"
	"sync/atomic"
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
	cut       atomic.Bool
	rolls     atomic.Int32
	heard     func(contracts.ServiceName, contracts.InstanceID) // if set, who hears what was missed
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

func (b *busFake) Missed(s contracts.ServiceName, i contracts.InstanceID) {
	if b.heard != nil {
		b.heard(s, i)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed = append(b.missed, i)
}

func (b *busFake) RollCall() { b.rolls.Add(1) }

func (b *busFake) Connected() bool { return !b.cut.Load() }

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

	slow     time.Duration
	answered func() // if set, called when an answer is on its way
}

func (f *tableFake) Bind(_ context.Context, _ contracts.ServiceName, k contracts.CallKey, take, gone contracts.InstanceID, _ time.Duration) (contracts.InstanceID, error) {
	var slow time.Duration
	f.set(func() { slow = f.slow })
	<-time.After(slow)
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
	if f.answered != nil {
		f.answered()
	}
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

func (r *rig) service() *service { return (*r.services.Load())["s"] }
