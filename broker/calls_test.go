package broker_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
)

// hearing keeps what instances report.
type hearing struct {
	mu      sync.Mutex
	reports map[contracts.InstanceID]contracts.Report
	heard   int // reports
	missed  []contracts.Subject
}

func (h *hearing) Reported(r contracts.Report, to contracts.Subject) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if to == at(r.Instance) {
		h.reports[r.Instance] = r
		h.heard++
	}
}

func (h *hearing) Missed(s contracts.ServiceName, i contracts.InstanceID, e contracts.Epoch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missed = append(h.missed, contracts.InstanceSubject("a", s, i, e))
}

// is waits until the hearing is as it should be.
func (h *hearing) is(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		h.mu.Lock()
		done := ok()
		h.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("never: " + what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// told is a waiter for one call.
type told chan string

func (w told) Ended(answer []byte, s contracts.Status) { w <- fmt.Sprint(s, " ", string(answer)) }

func openCalls(t *testing.T, url string, n contracts.NodeID) (*broker.Calls, *hearing) {
	t.Helper()
	h := &hearing{reports: map[contracts.InstanceID]contracts.Report{}}
	c, err := broker.OpenCalls(t.Context(), brokertest.Connect(t, url), "a", n, h, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, h
}

// at is where the instances of these tests get their calls.
func at(id contracts.InstanceID) contracts.Subject { return contracts.InstanceSubject("a", "s", id, 1) }

// serve starts an instance that answers with its id and what it was called with, and keeps quiet when it is called with "wait".
func serve(t *testing.T, url string, id contracts.InstanceID) *broker.Instance {
	t.Helper()
	report := func() contracts.Report {
		return contracts.Report{Service: "s", Instance: id, Epoch: 1, Capacity: 1, Weight: 1, Life: contracts.MaxReportLife}
	}
	i, err := broker.Serve(t.Context(), brokertest.Connect(t, url), "a", report, func(task []byte, answer func([]byte) error) {
		if string(task) != "wait" {
			_ = answer([]byte(string(id) + ": " + string(task))) // who calls sees that there is none
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	t.Cleanup(func() { once.Do(i.Close) })
	return i
}

func TestCallsReachTheInstanceThatWasChosen(t *testing.T) {
	t.Parallel()
	url := brokertest.New(t).URL()
	serve(t, url, "before")
	calls, heard := openCalls(t, url, "a1")
	serve(t, url, "after")
	heard.is(t, "both are known, the one by a roll call", func() bool { return len(heard.reports) == 2 })
	soon := time.Now().Add(20 * time.Second)
	for _, id := range []contracts.InstanceID{"before", "after"} {
		w := make(told, 2)
		calls.Call(at(id), []byte("hello"), soon, w)
		if got := <-w; got != "delivered "+string(id)+": hello" {
			t.Error(got)
		}
	}
}

func TestWhatBecomesOfACallIsToldOnce(t *testing.T) {
	t.Parallel()
	url := brokertest.New(t).URL()
	calls, heard := openCalls(t, url, "a1")
	other, alsoHeard := openCalls(t, url, "a2")
	i := serve(t, url, "i")
	heard.is(t, "it is known", func() bool { return len(heard.reports) == 1 })

	nobody, late, given, left := make(told, 2), make(told, 2), make(told, 2), make(told, 2)
	calls.Call(at("gone"), []byte("1"), time.Now().Add(20*time.Second), nobody)
	if got := <-nobody; got != "nobody " {
		t.Error(got)
	}
	calls.Call(at("i"), []byte("wait"), time.Now().Add(30*time.Millisecond), late)
	if got := <-late; got != "timeout " {
		t.Error(got)
	}
	calls.Call(at("i"), []byte("wait"), time.Now().Add(20*time.Second), given)
	calls.Abandon([]contracts.Subject{at("other"), contracts.InstanceSubject("a", "s", "i", 2)}) // a later start has not the calls of this one
	calls.Abandon([]contracts.Subject{at("other"), at("i")})
	if got := <-given; got != "unsure " {
		t.Error(got)
	}
	other.Missed("s", "i", 1)
	heard.is(t, "another node says that it missed the instance", func() bool { return len(heard.missed) == 1 && heard.missed[0] == at("i") })
	alsoHeard.is(t, "who said it hears it, too", func() bool { return len(alsoHeard.missed) == 1 })
	if err := i.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls.Call(at("i"), []byte("1"), time.Now().Add(20*time.Second), left)
	if got := <-left; got != "nobody " {
		t.Errorf("after it has left: %s", got)
	}
	for _, w := range []told{nobody, late, given, left} {
		if len(w) != 0 {
			t.Error("told twice")
		}
	}
	if s := calls.Stats(); s.Waiting != 0 || s.Strays != 0 || s.Malformed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAnInstanceThatIsSummonedReportsAndNobodyIsProof(t *testing.T) {
	t.Parallel()
	url := brokertest.New(t).URL()
	calls, heard := openCalls(t, url, "a1")
	i := serve(t, url, "i")
	heard.is(t, "it is known", func() bool { return len(heard.reports) == 1 })
	heard.mu.Lock()
	before := heard.heard
	heard.mu.Unlock()
	there, left, never := make(told, 2), make(told, 2), make(told, 2)
	calls.Summon("s", "i", time.Now().Add(30*time.Millisecond), there)
	heard.is(t, "it reports, and not only when its next turn comes", func() bool { return heard.heard > before })
	if got := <-there; got != "timeout " {
		t.Errorf("that it is there: %s", got)
	}
	if err := i.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls.Summon("s", "i", time.Now().Add(20*time.Second), left)
	calls.Summon("s", "other", time.Now().Add(20*time.Second), never)
	if a, b := <-left, <-never; a != "nobody " || b != "nobody " {
		t.Errorf("when it has left: %s; one that never was: %s", a, b)
	}
}

func TestAnInstanceThatCouldNotStartIsNotThere(t *testing.T) {
	t.Parallel()
	url := brokertest.New(t).URL()
	conn := brokertest.Connect(t, url) // which others use too, so it stays
	calls, err := broker.OpenCalls(t.Context(), conn, "a", "a1", &hearing{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(calls.Close)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	report := func() contracts.Report {
		return contracts.Report{Service: "s", Instance: "i", Epoch: 1, Capacity: 1, Weight: 1, Life: contracts.MaxReportLife}
	}
	if _, err := broker.Serve(over, conn, "a", report, func([]byte, func([]byte) error) {}); err == nil {
		t.Fatal("it has started")
	}
	summoned, called := make(told, 2), make(told, 2)
	soon := time.Now().Add(time.Second)
	calls.Summon("s", "i", soon, summoned)
	calls.Call(at("i"), []byte("1"), soon, called)
	if a, b := <-summoned, <-called; a != "nobody " || b != "nobody " {
		t.Errorf("summoned: %s; called: %s", a, b)
	}
}

func TestCallsUnderWayEndWithTheirNode(t *testing.T) {
	t.Parallel()
	url := brokertest.New(t).URL()
	h := &hearing{reports: map[contracts.InstanceID]contracts.Report{}}
	calls, err := broker.OpenCalls(t.Context(), brokertest.Connect(t, url), "a", "a1", h, nil)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, url, "i")
	before, after := make(told, 2), make(told, 2)
	h.is(t, "it is known", func() bool { return len(h.reports) == 1 })
	calls.Call(at("i"), []byte("wait"), time.Now().Add(time.Minute), before)
	calls.Close()
	calls.Call(at("i"), []byte("1"), time.Now().Add(time.Minute), after)
	if a, b := <-before, <-after; a != "unsure " || b != "unavailable " {
		t.Errorf("%q, %q", a, b)
	}
}

// bursts counts those that are open, and how many ended.
type bursts struct{ open, ended atomic.Int64 }

func (b *bursts) Begin() { b.open.Add(1) }
func (b *bursts) End()   { b.open.Add(-1); b.ended.Add(1) }

// inBurst is a waiter for many calls, the first of which holds up the others until it is let go.
type inBurst struct {
	*bursts
	hold, held chan struct{}
	once       sync.Once
	outside    atomic.Int64
	ended      chan contracts.Status
}

func (w *inBurst) Ended(_ []byte, s contracts.Status) {
	if s == contracts.StatusDelivered && w.open.Load() != 1 {
		w.outside.Add(1)
	}
	w.once.Do(func() {
		close(w.held)
		<-w.hold
	})
	w.ended <- s
}

func TestAnswersAreHandedOverInBurstsThatEnd(t *testing.T) {
	t.Parallel()
	const calling = 1000
	url := brokertest.New(t).URL()
	serve(t, url, "i")
	for _, closed := range []bool{false, true} {
		h := &hearing{reports: map[contracts.InstanceID]contracts.Report{}}
		w := &inBurst{bursts: &bursts{}, hold: make(chan struct{}), held: make(chan struct{}), ended: make(chan contracts.Status, calling)}
		calls, err := broker.OpenCalls(t.Context(), brokertest.Connect(t, url), "a", "a1", h, w)
		if err != nil {
			t.Fatal(err)
		}
		for range calling {
			calls.Call(at("i"), []byte("1"), time.Now().Add(time.Minute), w)
		}
		<-w.held
		if closed { // in the middle of a burst, if more has come
			time.AfterFunc(20*time.Millisecond, func() { close(w.hold) })
		} else {
			close(w.hold)
		}
		for n := 0; !closed && n < calling; n++ {
			<-w.ended
		}
		calls.Close()
		if closed && len(w.ended) != calling {
			t.Errorf("%d of %d calls ended", len(w.ended), calling)
		}
		if w.open.Load() != 0 || w.bursts.ended.Load() == 0 || w.outside.Load() != 0 {
			t.Errorf("closed %v: %d bursts open, %d ended, %d answers outside of any", closed, w.open.Load(), w.bursts.ended.Load(), w.outside.Load())
		}
	}
}
