package calls

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// stormBus carries calls to starts of instances that come and go at any moment, and ends each once, as broker.Calls does.
type stormBus struct {
	mu      sync.Mutex
	live    map[contracts.Subject]bool
	waiting map[*stormCall]bool
	carried map[uint64]int // by the number of the call
	work    sync.WaitGroup
}

type stormCall struct {
	to contracts.Subject
	w  broker.CallWaiter
}

func (b *stormBus) Call(to contracts.Subject, task []byte, deadline time.Time, w broker.CallWaiter) {
	c := &stormCall{to, w}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[c] = true
	live := b.live[to]
	if live && len(task) > 0 {
		x, err := contracts.ReadTask(task)
		if err != nil {
			panic(err)
		}
		b.carried[x.ID]++
	}
	chance := rand.IntN(10)
	b.work.Go(func() {
		<-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond)
		switch {
		case !live:
			b.end(c, nil, contracts.StatusNobody)
		case len(task) > 0 && chance > 1:
			b.end(c, []byte(`{"data":1}`), contracts.StatusDelivered)
		default:
			<-time.After(min(time.Until(deadline), 200*time.Millisecond))
			b.end(c, nil, contracts.StatusTimeout)
		}
	})
}

func (b *stormBus) end(c *stormCall, answer []byte, st contracts.Status) {
	b.mu.Lock()
	waits := b.waiting[c]
	delete(b.waiting, c)
	b.mu.Unlock()
	if waits {
		c.w.Ended(answer, st)
	}
}

func (b *stormBus) Abandon(all []contracts.Subject) {
	var ended []*stormCall
	b.mu.Lock()
	for c := range b.waiting {
		for _, to := range all {
			if c.to == to {
				ended = append(ended, c)
			}
		}
	}
	b.mu.Unlock()
	for _, c := range ended {
		b.end(c, nil, contracts.StatusUnsure)
	}
}

func (b *stormBus) Summon(_ contracts.ServiceName, _ contracts.InstanceID, d time.Time, w broker.CallWaiter) {
	b.work.Go(func() { w.Ended(nil, contracts.StatusTimeout) })
}
func (*stormBus) Missed(contracts.ServiceName, contracts.InstanceID, contracts.Epoch) {}
func (*stormBus) RollCall()                                                           {}
func (*stormBus) Connected() bool                                                     { return true }

func TestEveryCallEndsOnceAndIsCarriedOutOnceWhileStartsComeAndGo(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	d := New(cfg, &tableFake{has: map[contracts.CallKey]contracts.InstanceID{}}, nil)
	b := &stormBus{live: map[contracts.Subject]bool{}, waiting: map[*stormCall]bool{}, carried: map[uint64]int{}}
	d.Start(t.Context(), b)
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() { // reports come from one goroutine
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.IntN(500)) * time.Microsecond):
			}
			r := contracts.Report{
				Service: "s", Instance: contracts.InstanceID(fmt.Sprint("i", rand.IntN(3))), Epoch: contracts.Epoch(rand.IntN(4)), Capacity: 1000, Weight: 1,
				Life: contracts.MinReportLife, Draining: rand.IntN(5) == 0, Ended: rand.IntN(5) == 0,
			}
			to := contracts.InstanceSubject("a", "s", r.Instance, r.Epoch)
			b.mu.Lock()
			b.live[to] = !r.Ended && rand.IntN(5) > 0
			b.mu.Unlock()
			d.Reported(r, to)
		}
	})
	work.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond):
				d.Missed("s", contracts.InstanceID(fmt.Sprint("i", rand.IntN(3))), contracts.Epoch(rand.IntN(4)))
			}
		}
	})
	const callers, each = 8, 400
	var answered, id atomic.Uint64
	twice := sync.Map{}
	var calls sync.WaitGroup
	for range callers {
		calls.Go(func() {
			for range each {
				calls.Add(1)
				n := id.Add(1)
				c := contracts.Call{Service: "s", Data: []byte("1"), Idempotent: rand.IntN(2) == 0, Timeout: time.Second}
				if rand.IntN(2) == 0 {
					c.Key = contracts.CallKey(fmt.Sprint("k", rand.IntN(20)))
				}
				twice.Store(n, c.Idempotent)
				d.Call(c, contracts.Task{Client: "alice", Session: "00112233445566778899aabbccddeeff", ID: n}, func(o contracts.CallOutcome, _ []byte, p *contracts.Error) {
					if o == contracts.CallAnswered {
						answered.Add(1)
					}
					b.mu.Lock()
					if p != nil && !p.Unsure && b.carried[n] > 0 {
						t.Errorf("call %d, which was carried out, was told that it was not: %s %+v", n, o, p)
					}
					b.mu.Unlock()
					calls.Done()
				})
				<-time.After(time.Duration(rand.IntN(2000)) * time.Microsecond)
			}
		})
	}
	calls.Wait()
	close(stop)
	work.Wait()
	d.Close()
	b.work.Wait()
	t.Log("answered", answered.Load(), "retries", d.counters.retries.Load(), "deaths", d.counters.deaths.Load(), "doubles", d.counters.doubles.Load())
	for n, times := range b.carried {
		idem, _ := twice.Load(n)
		if times > 1 && !idem.(bool) {
			t.Errorf("call %d was carried out %d times", n, times)
		}
	}
	s := (*d.services.Load())["s"]
	if n := s.inFlight.Load(); n != 0 {
		t.Errorf("%d calls are in flight", n)
	}
	for _, i := range s.instances {
		if n := i.sent.Load(); n != 0 {
			t.Errorf("%s %d has %d calls", i.id, i.epoch, n)
		}
	}
	for _, i := range s.former {
		if n := i.sent.Load(); n != 0 {
			t.Errorf("former: %s %d has %d calls", i.id, i.epoch, n)
		}
	}
}
