package calls

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// storm carries calls to starts of instances that come and go at any moment, and ends each once, as broker.Calls does. Its time is real.
type storm struct {
	busFake
	d     *Dispatcher
	began time.Time

	live    map[contracts.Subject]bool // guarded by mu, as are the others
	waiting map[*letter]bool
	carried map[uint64]int // how often, by the number of the call
	work    sync.WaitGroup
}

// letter is one call under way.
type letter struct {
	to contracts.Subject
	w  broker.CallWaiter
}

// soon waits for a moment.
func soon(most time.Duration) { <-time.After(rand.N(most)) }

// anyStart returns one of a few starts of instances, most of which hang soon.
func (b *storm) anyStart() (contracts.InstanceID, contracts.Epoch) {
	return contracts.InstanceID(fmt.Sprint("i", rand.IntN(3))), contracts.Epoch(time.Since(b.began)/(20*time.Millisecond)) + contracts.Epoch(rand.IntN(4))
}

func (b *storm) Call(to contracts.Subject, task []byte, deadline time.Time, w broker.CallWaiter) {
	c := &letter{to, w}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[c] = true
	st := contracts.StatusNobody
	if b.live[to] {
		st = contracts.StatusTimeout
		if x, err := contracts.ReadTask(task); err == nil {
			b.carried[x.ID]++
			if rand.IntN(5) > 0 {
				st = contracts.StatusDelivered
			}
		}
	}
	b.work.Go(func() {
		soon(3 * time.Millisecond)
		if st == contracts.StatusTimeout {
			<-time.After(min(time.Until(deadline), 3*lastWords))
		}
		b.end(c, st)
	})
}

func (b *storm) end(c *letter, st contracts.Status) {
	b.mu.Lock()
	waits := b.waiting[c]
	delete(b.waiting, c)
	b.mu.Unlock()
	if waits {
		c.w.Ended([]byte(`{"data":1}`), st)
	}
}

func (b *storm) Abandon(all []contracts.Subject) {
	var ended []*letter
	b.mu.Lock()
	b.abandons++
	for c := range b.waiting {
		if slices.Contains(all, c.to) {
			ended = append(ended, c)
		}
	}
	b.mu.Unlock()
	for _, c := range ended {
		b.end(c, contracts.StatusUnsure)
	}
}

func (b *storm) Summon(_ contracts.ServiceName, _ contracts.InstanceID, _ time.Time, w broker.CallWaiter) {
	b.work.Go(func() { w.Ended(nil, contracts.StatusTimeout) })
}

// blow has some start of an instance come, go or report.
func (b *storm) blow() {
	soon(time.Millisecond)
	id, epoch := b.anyStart()
	r := contracts.Report{
		Service: "s", Instance: id, Epoch: epoch, Capacity: 1000, Weight: 1, Life: contracts.MinReportLife, Draining: rand.IntN(5) == 0, Ended: rand.IntN(5) == 0,
	}
	b.mu.Lock()
	b.live[at(id, epoch)] = !r.Ended && rand.IntN(5) > 0
	b.mu.Unlock()
	b.d.Reported(r, at(id, epoch))
}

// call makes one call, and fails if it is told anything that is not so.
func (b *storm) call(t *testing.T, id uint64, idempotent bool, ended func()) {
	t.Helper()
	c := contracts.Call{Service: "s", Data: []byte("1"), Idempotent: idempotent, Timeout: time.Second}
	if rand.IntN(2) == 0 {
		c.Key = contracts.CallKey(fmt.Sprint("k", rand.IntN(20)))
	}
	b.d.Call(c, contracts.Task{Client: "alice", Session: "00112233445566778899aabbccddeeff", ID: id}, func(o contracts.CallOutcome, _ []byte, p *contracts.Error) {
		b.mu.Lock()
		times := b.carried[id]
		b.mu.Unlock()
		switch {
		case times > 0 && p != nil && !p.Unsure:
			t.Errorf("call %d was carried out, and is told that it was not: %s, %v", id, o, p)
		case times > 1 && !idempotent:
			t.Errorf("call %d was carried out %d times", id, times)
		}
		ended()
	})
}

func TestEveryCallEndsOnceAndIsCarriedOutOnceWhileStartsComeAndGo(t *testing.T) {
	t.Parallel()
	d := New(DefaultConfig(), &tableFake{has: map[contracts.CallKey]contracts.InstanceID{}}, nil)
	b := &storm{d: d, began: time.Now(), live: map[contracts.Subject]bool{}, waiting: map[*letter]bool{}, carried: map[uint64]int{}}
	d.Start(t.Context(), b)
	var stop atomic.Bool
	var wind, callers, underWay sync.WaitGroup
	wind.Go(func() { // reports come from one goroutine
		for !stop.Load() {
			b.blow()
		}
	})
	wind.Go(func() {
		for !stop.Load() {
			soon(3 * time.Millisecond)
			id, epoch := b.anyStart()
			d.Missed("s", id, epoch)
		}
	})
	var last atomic.Uint64
	for range 8 {
		callers.Go(func() {
			for range 300 {
				underWay.Add(1)
				b.call(t, last.Add(1), rand.IntN(2) == 0, underWay.Done) // which panics the second time
				soon(2 * time.Millisecond)
			}
		})
	}
	callers.Wait()
	underWay.Wait()
	stop.Store(true)
	wind.Wait()
	d.Close()
	b.work.Wait()
	if b.abandons == 0 || d.counters.retries.Load() == 0 || d.counters.deaths.Load() == 0 {
		t.Error("nothing happened: the test shows nothing")
	}
	s := (*d.services.Load())["s"]
	for _, i := range s.instances {
		if i.sent.Load() != 0 {
			t.Errorf("%s has %d calls", i.at, i.sent.Load())
		}
	}
	if n := s.inFlight.Load(); n != 0 {
		t.Errorf("%d calls are in flight", n)
	}
}
