package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/backend"
	"github.com/beeline-rt/beeline/tools/client"
)

// worker is an instance of the service work, which counts what it carries out.
type worker struct {
	*backend.Instance
	id       contracts.InstanceID
	executed atomic.Int64
	delay    func() time.Duration
	each     *sync.Map // n of a call -> *atomic.Int64: how often it was carried out, by whomever
}

// job is what a call of work carries.
type job struct {
	N      int                `json:"n"`
	Client contracts.ClientID `json:"client"`
}

// done is what work answers.
type done struct {
	job
	Instance contracts.InstanceID `json:"instance"`
	Key      contracts.CallKey    `json:"key"`
}

// patientLife is how long a test's instance may be silent: a loaded machine is not a dead one.
const patientLife = 10 * time.Second

// work starts an instance of the service work, reached at nats.
func work(t *testing.T, nats string, id contracts.InstanceID, each *sync.Map, delay func() time.Duration, change ...func(*backend.Options)) *worker {
	t.Helper()
	w := &worker{id: id, delay: delay, each: each}
	o := backend.Options{
		Service: "work", Instance: id, NATS: broker.Config{URLs: []string{nats}}, Capacity: 512, Life: patientLife, Handler: w.handle,
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if w.Instance, err = backend.Register(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
		defer cancel()
		_ = w.Close(ctx) // some cannot say good-bye
	})
	return w
}

func (w *worker) handle(ctx context.Context, c backend.Call) (json.RawMessage, error) {
	w.executed.Add(1)
	var j job
	if err := json.Unmarshal(c.Data, &j); err != nil {
		return nil, err
	}
	if w.each != nil {
		n, _ := w.each.LoadOrStore(j.N, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
	if j.Client != c.Client {
		return nil, &contracts.Error{Code: "wrong_client", Message: "the edge names another client"}
	}
	if d := w.delay(); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	return json.Marshal(done{j, w.id, c.Key})
}

func at(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

func dialCaller(t *testing.T, f *fleet.Fleet, i int, name contracts.ClientID) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fleet.Patience)
	defer cancel()
	c, err := client.Dial(ctx, f.Nodes[i].URL(), client.Options{Client: name, AnswerTime: 4 * fleet.Patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// known waits until every node knows that many instances of the service.
func known(t *testing.T, f *fleet.Fleet, n int) {
	t.Helper()
	for _, x := range f.Nodes {
		fleet.Eventually(t, fmt.Sprint(x.ID, " knows the instances"), func() bool { return x.Value("beeline_calls_open_instances") >= float64(n) })
	}
}

// try is one call and what became of it.
type try struct {
	n      int
	key    contracts.CallKey
	answer done
	err    error
	took   time.Duration
}

// many makes n calls from several goroutines per connection, and returns what became of each.
func many(t *testing.T, conns []*client.Client, n, atOnce int, key func(int) contracts.CallKey, o client.CallOptions) []try {
	t.Helper()
	return manyAs(t, conns, 0, n, atOnce, key, o)
}

// manyAs is many for connections of which the first is that of the client with a number.
func manyAs(t *testing.T, conns []*client.Client, first, n, atOnce int, key func(int) contracts.CallKey, o client.CallOptions) []try {
	t.Helper()
	all := make([]try, n)
	var next atomic.Int64
	var callers sync.WaitGroup
	for at, c := range conns {
		at += first
		for range atOnce {
			callers.Go(func() {
				for {
					i := int(next.Add(1)) - 1
					if i >= n {
						return
					}
					x := &all[i]
					x.n, x.key = i, key(i)
					o := o
					o.Key = x.key
					began := time.Now()
					var answer json.RawMessage
					answer, x.err = c.Call(t.Context(), "work", fmt.Appendf(nil, `{"n":%d,"client":"c%d"}`, i, at), o)
					x.took = time.Since(began)
					if x.err == nil {
						x.err = json.Unmarshal(answer, &x.answer)
						if x.err == nil && (x.answer.N != i || x.answer.Client != contracts.ClientID(fmt.Sprint("c", at)) || x.answer.Key != x.key) {
							t.Errorf("call %d of c%d with key %q got %+v", i, at, x.key, x.answer)
						}
					}
				}
			})
		}
	}
	callers.Wait()
	return all
}

func dialCallers(t *testing.T, f *fleet.Fleet, n int) []*client.Client {
	t.Helper()
	all := make([]*client.Client, n)
	for i := range all {
		all[i] = dialCaller(t, f, i%len(f.Nodes), contracts.ClientID(fmt.Sprint("c", i)))
	}
	return all
}

func noKey(int) contracts.CallKey { return "" }

func TestEveryAnswerGoesToTheRequestOfItsClient(t *testing.T) {
	t.Parallel()
	calls, keys := sized(3000, 100_000), sized(200, 2000)
	f := fleet.New(t, 2)
	random := func() time.Duration { return rand.N(2 * time.Millisecond) }
	var workers []*worker
	for i := range 3 {
		workers = append(workers, work(t, f.NATS.URL(), contracts.InstanceID(fmt.Sprint("w", i)), nil, random))
	}
	known(t, f, 3)
	conns := dialCallers(t, f, sized(10, 50))
	// Every third call has no key.
	all := many(t, conns, calls, 16, func(i int) contracts.CallKey {
		if i%3 == 0 {
			return ""
		}
		return contracts.CallKey(fmt.Sprint("k", i%keys))
	}, client.CallOptions{Timeout: time.Minute})

	owner := map[contracts.CallKey]contracts.InstanceID{}
	for _, x := range all {
		switch {
		case x.err != nil:
			t.Fatalf("call %d: %v", x.n, x.err)
		case x.key == "":
		case owner[x.key] == "":
			owner[x.key] = x.answer.Instance
		case owner[x.key] != x.answer.Instance:
			t.Errorf("key %s was on %s and on %s", x.key, owner[x.key], x.answer.Instance)
		}
	}
	executed := int64(0)
	for _, w := range workers {
		executed += w.executed.Swap(0)
	}
	if executed != int64(calls) {
		t.Errorf("%d calls were carried out %d times", calls, executed)
	}

	// Those with keys are as uneven as their keys, and those without make up for it. By themselves these are even.
	many(t, conns, calls, 16, noKey, client.CallOptions{Timeout: time.Minute})
	for _, w := range workers {
		if share := float64(w.executed.Load()) / float64(calls) * 3; share < 0.9 || share > 1.1 {
			t.Errorf("instance %s got %.3f of an even share of the calls without a key", w.id, share)
		}
	}
}

// p99Of is the time within which 99 of 100 calls were answered that match.
func p99Of(all []try, match func(try) bool) time.Duration {
	var took []time.Duration
	for _, x := range all {
		if x.err == nil && match(x) {
			took = append(took, x.took)
		}
	}
	slices.Sort(took)
	if len(took) == 0 {
		return 0
	}
	return took[len(took)*99/100]
}

func TestASlowInstanceHoldsUpOnlyItsOwn(t *testing.T) {
	t.Parallel()
	calls := sized(1200, 30_000)
	run := func(third time.Duration) (all []try, slow int64) {
		f := fleet.New(t, 1)
		var workers []*worker
		for i, d := range []time.Duration{5 * time.Millisecond, 5 * time.Millisecond, third} {
			workers = append(workers, work(t, f.NATS.URL(), contracts.InstanceID(fmt.Sprint("w", i)), nil, at(d)))
		}
		known(t, f, 3)
		all = many(t, dialCallers(t, f, 4), calls, 8, noKey, client.CallOptions{Timeout: time.Minute})
		for _, x := range all {
			if x.err != nil {
				t.Fatalf("call %d: %v", x.n, x.err)
			}
		}
		return all, workers[2].executed.Load()
	}
	rest := func(x try) bool { return x.answer.Instance != "w2" }
	alike, _ := run(5 * time.Millisecond)
	mixed, slow := run(50 * time.Millisecond)
	before, after := p99Of(alike, rest), p99Of(mixed, rest)
	t.Logf("p99 of the rest %v, with a slow one %v; it got %d of %d calls", before, after, slow, calls)
	// A loaded machine gets some slack at each change.
	if after > before*3/2+sized(500*time.Millisecond, 0) {
		t.Errorf("p99 of the rest is %v, and was %v without a slow instance", after, before)
	}
	if slow == 0 || slow > int64(calls)/sized[int64](3, 6) {
		t.Errorf("the slow instance got %d of %d calls", slow, calls)
	}
}

func TestOverloadDoesNotCollapse(t *testing.T) {
	t.Parallel()
	lasts := sized(time.Second, 5*time.Second)
	// What two instances can do: 2 x 8 at a time, 10 ms each. Callers who are refused come again after a moment.
	goodput := func(callers int) (answered, refused int64) {
		f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.Edge.Calls = 1024 }))
		for i := range 2 {
			work(t, f.NATS.URL(), contracts.InstanceID(fmt.Sprint("w", i)), nil, at(10*time.Millisecond), func(o *backend.Options) { o.Capacity, o.Waiting = 8, 4 })
		}
		known(t, f, 2)
		conns := dialCallers(t, f, 4)
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		var good, bad atomic.Int64
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				for ctx.Err() == nil {
					_, err := conns[i%4].Call(t.Context(), "work", fmt.Appendf(nil, `{"n":1,"client":"c%d"}`, i%4), client.CallOptions{Timeout: sized(10*time.Second, 500*time.Millisecond)})
					var told *contracts.Error
					switch {
					case err == nil:
						good.Add(1)
						continue
					case !errors.As(err, &told) || told.Code != contracts.CodeUnavailable || told.Unsure:
						t.Errorf("under load: %v", err)
					}
					bad.Add(1)
					<-time.After(5 * time.Millisecond)
				}
			})
		}
		all.Wait()
		return good.Load(), bad.Load()
	}
	peak, _ := goodput(16)
	over, refused := goodput(3 * 24)
	t.Logf("%d answered at capacity; at three times that %d, and %d refused", peak, over, refused)
	if refused == 0 {
		t.Error("nothing was refused: this was no overload")
	}
	if float64(over) < sized(0.4, 0.9)*float64(peak) {
		t.Errorf("%d calls were answered under overload, %d at capacity", over, peak)
	}
}
