package backend_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// caller is an edge as far as an instance sees one.
type caller struct {
	*broker.Calls
	mu      sync.Mutex
	reports []contracts.Report
	at      contracts.Subject // of the start that reported last
}

func (c *caller) Reported(r contracts.Report, at contracts.Subject) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reports, c.at = append(c.reports, r), at
}

func (*caller) Missed(contracts.ServiceName, contracts.InstanceID, contracts.Epoch) {}

// last is the latest report.
func (c *caller) last() (r contracts.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reports) > 0 {
		r = c.reports[len(c.reports)-1]
	}
	return r
}

type told chan string

func (w told) Ended(answer []byte, s contracts.Status) { w <- fmt.Sprint(s, " ", string(answer)) }

// call calls the instance, and returns where it will stand what became of that.
func (c *caller) call(data string, timeout time.Duration) told {
	w := make(told, 1)
	task := contracts.AppendTask(nil, contracts.Task{Client: "alice", Session: contracts.NewSessionID(), ID: 7, Key: "k", Timeout: timeout, Data: []byte(data)})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Call(c.at, task, time.Now().Add(time.Minute), w)
	return w
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("never: " + what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// start starts an instance, and a caller for it.
func start(t *testing.T, h backend.Handler, change func(*backend.Options)) (*backend.Instance, *caller) {
	t.Helper()
	url := brokertest.New(t).URL()
	c := &caller{}
	var err error
	if c.Calls, err = broker.OpenCalls(t.Context(), brokertest.Connect(t, url), "a", "a1", c, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	o := backend.Options{Service: "s", Instance: "i", NATS: broker.Config{URLs: []string{url}}, Handler: h}
	if change != nil {
		change(&o)
	}
	i, err := backend.Register(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		_ = i.Close(ctx)
	})
	eventually(t, "it reports", func() bool { return c.last().Instance == "i" })
	return i, c
}

func TestAHandlerAnswersAndFails(t *testing.T) {
	t.Parallel()
	_, c := start(t, func(ctx context.Context, c backend.Call) (json.RawMessage, error) {
		deadline, ok := ctx.Deadline()
		if !ok || time.Until(deadline) > time.Minute {
			return nil, errors.New("no deadline")
		}
		switch string(c.Data) {
		case `"own"`:
			return nil, fmt.Errorf("handle: %w", &contracts.Error{Code: "no_such_cart", Message: "it is gone"})
		case `"secret"`:
			return nil, errors.New("the password is 1234")
		case `"panic"`:
			panic("at the disco")
		case `"garbage"`:
			return json.RawMessage("{"), nil
		}
		return json.RawMessage(fmt.Sprintf(`["%s","%s",%d]`, c.Client, c.Key, c.ID)), nil
	}, nil)
	const failed = `delivered {"error":{"code":"internal","message":"the service failed"}}`
	for data, want := range map[string]string{
		"1": `delivered {"data":["alice","k",7]}`, `"own"`: `delivered {"error":{"code":"no_such_cart","message":"it is gone"}}`,
		`"secret"`: failed, `"panic"`: failed, `"garbage"`: failed,
	} {
		if got := <-c.call(data, time.Minute); got != want {
			t.Errorf("%s: %s", data, got)
		}
	}
}

func TestACallIsCarriedOutOnceThoughTwoProcessesHaveOneID(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{false, true} { // as starts of the same moment are
		var executed [2]atomic.Int64
		handler := func(n int) backend.Handler {
			return func(context.Context, backend.Call) (json.RawMessage, error) {
				executed[n].Add(1)
				return json.RawMessage("1"), nil
			}
		}
		var again backend.Options
		_, c := start(t, handler(0), func(o *backend.Options) { o.Life, again = contracts.MaxReportLife, *o })
		before := c.last().Epoch
		again.Handler, again.Life = handler(1), contracts.MaxReportLife
		if same {
			again.Epoch = before
		}
		second, err := backend.Register(t.Context(), again)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the second one reports", func() bool { return same || c.last().Epoch > before })
		const calls = 50
		for range calls {
			if got := <-c.call("1", time.Minute); got != `delivered {"data":1}` {
				t.Error(got)
			}
		}
		if err := second.Close(t.Context()); err != nil { // and has carried out what came
			t.Error(err)
		}
		a, b := executed[0].Load(), executed[1].Load()
		if a+b != calls || !same && b != calls {
			t.Errorf("of the same epoch: %t; of %d calls the first carried out %d and the second %d", same, calls, a, b)
		}
	}
}

func TestWhatAnInstanceHasIsBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	i, c := start(t, func(context.Context, backend.Call) (json.RawMessage, error) {
		<-release
		return json.RawMessage("1"), nil
	}, func(o *backend.Options) { o.Capacity, o.Waiting = 1, 1 })
	one := c.call("1", time.Minute)
	eventually(t, "it works on one", func() bool { return i.InFlight() == 1 })
	late := c.call("2", time.Millisecond)
	eventually(t, "another one waits", func() bool { return i.InFlight() == 2 })
	if got := <-c.call("3", time.Minute); got != `delivered {"refused":"busy"}` {
		t.Errorf("one more: %s", got)
	}
	<-time.After(2 * time.Millisecond) // more than the second one's time
	close(release)
	if got := <-one; got != `delivered {"data":1}` {
		t.Error(got)
	}
	if got := <-late; got != `delivered {"refused":"late"}` {
		t.Errorf("one whose time was over before its turn: %s", got)
	}
}

func TestAnInstanceThatClosesAnswersWhatItHas(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	i, c := start(t, func(context.Context, backend.Call) (json.RawMessage, error) {
		<-release
		return json.RawMessage("1"), nil
	}, nil)
	has := c.call("1", time.Minute)
	eventually(t, "it works on a call", func() bool { return i.InFlight() == 1 })
	closed := make(chan error, 1)
	go func() { closed <- i.Close(t.Context()) }()
	eventually(t, "it says that it ends", func() bool { return c.last().Ended })
	eventually(t, "it takes nothing more", func() bool {
		select {
		case got := <-c.call("2", time.Minute):
			return got == "nobody "
		case <-time.After(50 * time.Millisecond): // it was taken
			return false
		}
	})
	close(release)
	if got := <-has; got != `delivered {"data":1}` {
		t.Error(got)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	good := backend.Options{
		Service: "s", NATS: broker.Config{URLs: []string{"nats://127.0.0.1:1"}},
		Handler: func(context.Context, backend.Call) (json.RawMessage, error) { return nil, nil },
	}
	for what, spoil := range map[string]func(*backend.Options){
		"no service": func(o *backend.Options) { o.Service = "" }, "no handler": func(o *backend.Options) { o.Handler = nil },
		"no NATS": func(o *backend.Options) { o.NATS.URLs = nil }, "weight": func(o *backend.Options) { o.Weight = 101 },
		"capacity": func(o *backend.Options) { o.Capacity = -1 }, "life": func(o *backend.Options) { o.Life = time.Hour },
		"instance": func(o *backend.Options) { o.Instance = "*" }, "epoch": func(o *backend.Options) { o.Epoch = contracts.MaxRequestID + 1 }, "nobody there": func(*backend.Options) {},
	} {
		o := good
		spoil(&o)
		if _, err := backend.Register(t.Context(), o); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
