package tests

import (
	"context"
	"encoding/json"
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

// restart is an instance of which a process hangs, so that another is started under its id. There is another instance beside it.
type restart struct {
	f            *fleet.Fleet
	link         *brokertest.Link // of the older process
	older, newer *worker
	other        *worker
	each         *sync.Map
	conns        []*client.Client
	key          contracts.CallKey // one that the instance has
	owner        map[contracts.CallKey]contracts.InstanceID

	next      int         // number of the next call
	hold      atomic.Bool // calls that the older process takes wait for release
	release   chan struct{}
	underWay  []chan error // calls that it had when it hung, or that were sent to it after that
	carriedBy int64        // what it had carried out before that
}

// had is how many calls the older process works on when it hangs, and how many more then are sent to it.
const had = 4

// hang starts an instance and has it hang while it has calls; epoch is that of its process.
func hang(t *testing.T, epoch contracts.Epoch, timeout time.Duration) *restart {
	t.Helper()
	r := &restart{f: fleet.New(t, 2), each: &sync.Map{}, owner: map[contracts.CallKey]contracts.InstanceID{}, release: make(chan struct{})}
	r.link = brokertest.NewLink(t, r.f.NATS.URL())
	t.Cleanup(r.link.Restore)
	wait := func() time.Duration {
		if r.hold.Load() {
			<-r.release
		}
		return 0
	}
	r.older = work(t, "nats://"+r.link.Addr(), "w", r.each, wait, func(o *backend.Options) { o.Epoch, o.Life = epoch, 3*time.Second })
	r.other = work(t, r.f.NATS.URL(), "other", r.each, at(0))
	known(t, r.f, 2)
	r.conns = dialCallers(t, r.f, 2)
	if lost := r.calls(t, 40, fleet.Patience); lost > 0 {
		t.Fatalf("%d calls were lost before anything happened", lost)
	}
	for k, id := range r.owner {
		if id == "w" {
			r.key = k
		}
	}
	r.carriedBy = r.older.executed.Load()
	r.hold.Store(true)
	r.send(t, timeout)
	fleet.Eventually(t, "it works on calls", func() bool { return r.older.executed.Load() == r.carriedBy+had })
	r.link.Freeze()
	r.hold.Store(false)
	r.send(t, timeout)
	fleet.Eventually(t, "it has calls under way", func() bool {
		return r.f.Nodes[0].Value("beeline_calls_in_flight")+r.f.Nodes[1].Value("beeline_calls_in_flight") == 2*had
	})
	return r
}

// one makes the call with a number.
// An even one goes over the first edge, and an odd one over the second.
func (r *restart) one(ctx context.Context, n int, key contracts.CallKey, timeout time.Duration) (done, error) {
	var d done
	b, err := r.conns[n%2].Call(ctx, "work", fmt.Appendf(nil, `{"n":%d,"client":"c%d"}`, n, n%2), client.CallOptions{Key: key, Timeout: timeout})
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	return d, err
}

// send makes calls that the instance has to work on, and waits for none.
func (r *restart) send(t *testing.T, timeout time.Duration) {
	t.Helper()
	for range had {
		n, ended := r.next, make(chan error, 1)
		r.next++
		r.underWay = append(r.underWay, ended)
		go func() {
			_, err := r.one(t.Context(), n, r.key, timeout)
			ended <- err
		}()
	}
}

// calls makes n calls at once, half of them with keys, which stay where they are. It returns how many had no answer.
func (r *restart) calls(t *testing.T, n int, timeout time.Duration) (lost int) {
	t.Helper()
	all, errs := make([]done, n), make([]error, n)
	keyOf := func(i int) contracts.CallKey {
		if i%4 < 2 {
			return ""
		}
		return contracts.CallKey(fmt.Sprint("k", i%20))
	}
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() { all[i], errs[i] = r.one(t.Context(), r.next+i, keyOf(i), timeout) })
	}
	callers.Wait()
	r.next += n
	for i, d := range all {
		key := keyOf(i)
		switch was := r.owner[key]; {
		case errs[i] != nil:
			t.Logf("call %d with key %q: %v", i, key, errs[i])
			lost++
		case key == "":
		case was != "" && was != d.Instance:
			t.Errorf("key %s was on %s and on %s", key, was, d.Instance)
		default:
			r.owner[key] = d.Instance
		}
	}
	return lost
}

// replace starts a process under the id of the one that hangs, and waits until every edge has heard of it.
func (r *restart) replace(t *testing.T, epoch contracts.Epoch) {
	t.Helper()
	conn := brokertest.Connect(t, r.f.NATS.URL())
	r.newer = work(t, "", "w", r.each, at(0), func(o *backend.Options) { o.Conn, o.Epoch = conn, epoch })
	// What comes over one connection is heard in order.
	work(t, "", "after", nil, at(0), func(o *backend.Options) { o.Conn, o.Service = conn, "marker" })
	known(t, r.f, 3)
}

// end closes a worker, which has carried out all that it got after that.
func end(t *testing.T, w *worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fleet.Patience)
	defer cancel()
	if err := w.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestAProcessThatHangsGetsNoCallsWhenAnotherIsStartedUnderItsID(t *testing.T) {
	t.Parallel()
	const calls = 200
	r := hang(t, 1, time.Minute)
	began := time.Now()
	r.replace(t, 2)
	if lost := r.calls(t, calls, time.Minute); lost > 0 {
		t.Errorf("%d of %d calls had no answer after another process had reported", lost, calls)
	}
	// What the one that hangs had is told so, though its own report still stands.
	for _, ended := range r.underWay {
		var told *contracts.Error
		if err := <-ended; !errors.As(err, &told) || told.Code != contracts.CodeUnavailable || !told.Unsure {
			t.Errorf("a call that it had ended with %v", err)
		}
	}
	if took := time.Since(began); took > time.Second+sized(2*time.Second, 0) { // slack for a loaded machine
		t.Errorf("that took %v", took)
	}

	r.link.Restore()
	close(r.release)
	fleet.Eventually(t, "it goes on, and the edges notice", func() bool {
		return r.f.Nodes[0].Value("beeline_calls_doubles_total") > 0 && r.f.Nodes[1].Value("beeline_calls_doubles_total") > 0
	})
	if lost := r.calls(t, calls, time.Minute); lost > 0 {
		t.Errorf("%d of %d calls had no answer after it went on", lost, calls)
	}
	fleet.Eventually(t, "it carries out what was on its way to it", func() bool { return r.older.executed.Load() >= r.carriedBy+2*had })
	if got := r.older.executed.Load() - r.carriedBy - 2*had; got != 0 {
		t.Errorf("it was sent %d calls more", got)
	}

	// The newer one ends, and the older one, which still reports, is the instance again.
	end(t, r.newer)
	for edge := range 2 {
		before := r.older.executed.Load()
		fleet.Eventually(t, "it gets calls again", func() bool {
			_, err := r.one(t.Context(), r.next+edge, "", time.Minute)
			r.next += 2
			return err == nil && r.older.executed.Load() > before
		})
	}
	end(t, r.older)
	end(t, r.other)
	if most := times(r.each); most != 1 {
		t.Errorf("a call was carried out %d times", most)
	}
}

// The twin of TestAProcessThatHangsGetsNoCallsWhenAnotherIsStartedUnderItsID: processes that have the same epoch are not told apart.
func TestWithoutAnEpochAProcessThatHangsGoesOnToGetCalls(t *testing.T) {
	t.Parallel()
	const calls = 100
	r := hang(t, 1, time.Second)
	r.replace(t, 1)
	if lost := r.calls(t, calls, time.Second); lost == 0 {
		t.Error("none were lost: the twin shows nothing")
	}
	r.link.Restore()
	close(r.release)
	fleet.Eventually(t, "it carries out late what it was sent", func() bool { return r.older.executed.Load() > r.carriedBy+2*had })
}
