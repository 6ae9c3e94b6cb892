package tests

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/backend"
	"github.com/beeline-rt/beeline/tools/client"
)

// fault is something that happens to an instance under load.
type fault struct {
	name string
	make func(t *testing.T, w *worker, l *brokertest.Link)
	// What the calls that it had are told, if anything.
	lost bool
}

var faults = []fault{
	{"killed", func(_ *testing.T, _ *worker, l *brokertest.Link) { l.Cut() }, true},
	{"hung", func(_ *testing.T, _ *worker, l *brokertest.Link) { l.Freeze() }, true},
	{"drained", func(t *testing.T, w *worker, _ *brokertest.Link) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // well before the last tenth of the calls
		defer cancel()
		w.Drain(ctx)
		closing, stop := context.WithTimeout(t.Context(), fleet.Patience)
		defer stop()
		if err := w.Close(closing); err != nil {
			t.Errorf("close: %v", err)
		}
	}, false},
}

// underFault makes calls to three instances, one of which has a fault in the midst of it, and returns what became of them, and how
// often each was carried out.
func underFault(t *testing.T, f fault, idempotent bool) (all []try, each *sync.Map, moved float64) {
	t.Helper()
	fl := fleet.New(t, 2)
	each = &sync.Map{}
	link := brokertest.NewLink(t, fl.NATS.URL())
	short := func(o *backend.Options) { o.Life = 2 * time.Second } // what a hang costs; longer than a loaded machine holds up a report
	slow := at(20 * time.Millisecond)
	victim := work(t, "nats://"+link.Addr(), "w0", each, slow, short)
	work(t, fl.NATS.URL(), "w1", each, slow)
	work(t, fl.NATS.URL(), "w2", each, slow)
	known(t, fl, 3)
	var once sync.WaitGroup
	var struck atomic.Bool
	calls := sized(1000, 10_000)
	key := func(i int) contracts.CallKey {
		// In the midst, and while the victim has calls.
		if i > calls/3 && victim.InFlight() > 0 && struck.CompareAndSwap(false, true) {
			once.Go(func() { f.make(t, victim, link) })
		}
		if i%2 == 0 {
			return ""
		}
		return contracts.CallKey(fmt.Sprint("k", i%50))
	}
	all = many(t, dialCallers(t, fl, 6), calls, 8, key, client.CallOptions{Timeout: 20 * time.Second, Idempotent: idempotent})
	once.Wait()
	if !struck.Load() {
		t.Fatal("the fault did not happen: the test shows nothing")
	}
	link.Restore() // for the clean-up
	for _, n := range fl.Nodes {
		moved += n.Value("beeline_calls_deaths_total") + n.Value("beeline_calls_moved_keys_total")
	}
	return all, each, moved
}

// times is how often the call that was carried out most was.
func times(each *sync.Map) (most int64) {
	each.Range(func(_, n any) bool {
		most = max(most, n.(*atomic.Int64).Load())
		return true
	})
	return most
}

func TestNoCallIsCarriedOutTwice(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			all, each, _ := underFault(t, f, false)
			lost := 0
			for _, x := range all {
				var told *contracts.Error
				switch {
				case x.err == nil:
					if n, ok := each.Load(x.n); !ok || n.(*atomic.Int64).Load() != 1 {
						t.Errorf("call %d was answered, and not carried out once", x.n)
					}
				case errors.As(x.err, &told) && told.Code == contracts.CodeUnavailable && told.Unsure:
					lost++
				default:
					t.Errorf("call %d: %v", x.n, x.err)
				}
			}
			t.Logf("%d of %d calls were lost with the instance", lost, len(all))
			if most := times(each); most != 1 {
				t.Errorf("a call was carried out %d times", most)
			}
			if f.lost != (lost > 0) {
				t.Errorf("%d calls were lost", lost)
			}
			// After that, each key is on one of the others.
			owner := map[contracts.CallKey]contracts.InstanceID{}
			for _, x := range all[len(all)*9/10:] {
				if x.err == nil && x.key != "" {
					if was := owner[x.key]; was != "" && was != x.answer.Instance {
						t.Errorf("key %s was on %s and on %s", x.key, was, x.answer.Instance)
					}
					owner[x.key] = x.answer.Instance
				}
			}
		})
	}
}

// The twin of TestNoCallIsCarriedOutTwice: without what protects calls, some are carried out twice; but none fails.
func TestACallThatSaysItMayIsTriedAgain(t *testing.T) {
	t.Parallel()
	all, each, _ := underFault(t, faults[0], true)
	for _, x := range all {
		if x.err != nil {
			t.Errorf("call %d: %v", x.n, x.err)
		}
	}
	if most := times(each); most != 2 {
		t.Errorf("a call was carried out %d times: the twin shows nothing, or it was tried too often", most)
	}
}

func TestCallsInFlightHearWithinASecondThatTheirInstanceIsGone(t *testing.T) {
	t.Parallel()
	for _, f := range faults[:2] {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			fl := fleet.New(t, 1)
			link := brokertest.NewLink(t, fl.NATS.URL())
			w := work(t, "nats://"+link.Addr(), "w0", nil, at(fleet.Patience), func(o *backend.Options) { o.Life = contracts.DefaultReportLife })
			known(t, fl, 1)
			c := dialCaller(t, fl, 0, "c0")
			ended := make(chan error, 1)
			go func() {
				_, err := c.Call(t.Context(), "work", []byte(`{"n":1,"client":"c0"}`), client.CallOptions{Timeout: time.Minute})
				ended <- err
			}()
			fleet.Eventually(t, "the call is under way", func() bool { return w.executed.Load() == 1 })
			began := time.Now()
			f.make(t, w, link)
			err := <-ended
			took := time.Since(began)
			link.Restore()
			var told *contracts.Error
			if !errors.As(err, &told) || told.Code != contracts.CodeUnavailable || !told.Unsure {
				t.Errorf("the call ended with %v", err)
			}
			t.Logf("after %v", took)
			if took > time.Second+sized(2*time.Second, 0) { // slack for a loaded machine
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestKeysStayWhenAnEdgeWasCutOff(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	short := func(o *backend.Options) { o.Life = time.Second }
	for _, id := range []contracts.InstanceID{"w0", "w1", "w2"} {
		work(t, f.NATS.URL(), id, nil, at(0), short)
	}
	known(t, f, 3)
	conns := dialCallers(t, f, 2)
	owner := map[contracts.CallKey]contracts.InstanceID{}
	check := func(what string, conns []*client.Client) {
		t.Helper()
		for _, x := range many(t, conns, 120, 4, func(i int) contracts.CallKey { return contracts.CallKey(fmt.Sprint("k", i%40)) }, callWithKey("")) {
			if x.err != nil {
				t.Errorf("%s: call %d: %v", what, x.n, x.err)
				continue
			}
			if was := owner[x.key]; was != "" && was != x.answer.Instance {
				t.Errorf("%s: key %s was on %s and on %s", what, x.key, was, x.answer.Instance)
			}
			owner[x.key] = x.answer.Instance
		}
	}
	check("before", conns)
	f.Nodes[1].NATSLink.Cut()
	fleet.Eventually(t, "the second edge is cut off", func() bool {
		_, err := conns[1].Call(t.Context(), "work", []byte(`{"n":1,"client":"c1"}`), client.CallOptions{})
		return codeOf(err) == contracts.CodeUnavailable
	})
	began := time.Now()
	fleet.Eventually(t, "what it last heard does not stand any more", func() bool { return time.Since(began) > 3*time.Second/2 })
	check("over the other", conns[:1])
	before := f.Nodes[1].Value("beeline_nats_reconnects_total")
	f.Nodes[1].NATSLink.Restore()
	fleet.Eventually(t, "it is back", func() bool { return f.Nodes[1].Value("beeline_nats_reconnects_total") > before })
	check("after", conns)
}
