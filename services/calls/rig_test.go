package calls

import (
	"context"
	"strconv"
	"strings"
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
	to    contracts.InstanceID
	epoch contracts.Epoch // 0: it is no call, but asks whether a start is there
	w     broker.CallWaiter
}

// busFake keeps what it is given until the test answers it.
type busFake struct {
	mu        sync.Mutex
	parcels   []parcel
	abandoned []contracts.Subject
	abandons  int // calls of Abandon
	missed    []contracts.Subject
	cut       atomic.Bool
	rolls     atomic.Int32
	heard     func(contracts.ServiceName, contracts.InstanceID, contracts.Epoch) // if set, who hears what was missed
}

// at is the subject of a start of an instance.
func at(id contracts.InstanceID, e contracts.Epoch) contracts.Subject {
	return contracts.InstanceSubject("a", "s", id, e)
}

func (b *busFake) Call(to contracts.Subject, _ []byte, _ time.Time, w broker.CallWaiter) {
	id, epoch, _ := strings.Cut(strings.TrimPrefix(string(to), "a.call.s."), ".")
	e, err := strconv.ParseUint(epoch, 10, 64)
	if err != nil {
		panic("no subject of an instance: " + to)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parcels = append(b.parcels, parcel{contracts.InstanceID(id), contracts.Epoch(e), w})
}

func (b *busFake) Summon(_ contracts.ServiceName, i contracts.InstanceID, _ time.Time, w broker.CallWaiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parcels = append(b.parcels, parcel{i, 0, w})
}

func (b *busFake) Abandon(all []contracts.Subject) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.abandoned = append(b.abandoned, all...)
	b.abandons++
}

func (b *busFake) Missed(s contracts.ServiceName, i contracts.InstanceID, e contracts.Epoch) {
	if b.heard != nil {
		b.heard(s, i, e)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed = append(b.missed, at(i, e))
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
	if take != "" {
		f.has[k] = take
	}
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
		r.report(contracts.Report{Instance: id, Epoch: 1, Waiting: 10})
	}
}

// report has one report; what it does not say has a default.
func (r *rig) report(x contracts.Report) {
	x.Service, x.Life = "s", contracts.MaxReportLife
	x.Capacity, x.Weight = max(10, x.Capacity), max(1, x.Weight)
	r.Reported(x, at(x.Instance, x.Epoch))
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
