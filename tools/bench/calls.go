package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/bench/floor"
	"github.com/beeline-rt/beeline/tools/bench/proc"
	"github.com/beeline-rt/beeline/tools/bench/usage"
	"github.com/beeline-rt/beeline/tools/client"
)

// Parts of the work calls, which the program that runs it serves.
const (
	BackendPart = "backend"   // instances of a service that answers at once
	RequestPart = "requester" // a process that makes bare requests over NATS
)

// BackendRequest asks the part [BackendPart] to run instances of a service.
type BackendRequest struct {
	NATS      string
	Service   string
	Instances int
}

// RequesterRequest asks the part [RequestPart] to make bare requests to instances for a while.
type RequesterRequest struct {
	BackendRequest
	Window int // that wait for their answer
	Size   int // of the data, in bytes
	For    time.Duration
}

// Count is how many requests were answered.
type Count struct{ Answered uint64 }

// Calls is calls of a backend service, of which each connection has some under way all the time.
type Calls struct {
	Service     string
	Connections int
	Window      int           // calls of a connection that wait for their answer
	Keys        int           // message keys, of all connections together; 0: calls without a key
	Size        int           // of a call's data, in bytes
	Warm, For   time.Duration // before anything is measured, and the measured part
	Plot        bool
	Instances   int // of the floor's service, as many as the system has
}

var _ Floored = Calls{}

// Name is calls.
func (Calls) Name() string { return "calls" }

// Validate says what is wrong.
func (c Calls) Validate(env Env) error {
	_, err := contracts.ParseServiceName(c.Service)
	switch {
	case err != nil:
		return fmt.Errorf("service: %w", err)
	case c.Connections < 1 || c.Window < 1 || c.Keys < 0 || c.Instances < 1:
		return errors.New("connections, window and instances must be at least 1, keys not negative")
	case c.Size < 2:
		return errors.New("size must be at least 2")
	case c.Warm < 0 || c.For <= 0:
		return errors.New("the measured part must have some length")
	}
	return errors.Join(env.validate(), roomFor(c.Connections))
}

// caller is one connection.
type caller struct {
	conn     *client.Client
	number   int
	sent     atomic.Uint64
	mu       sync.Mutex
	outcomes tally // guarded by mu
}

// Run connects, has the calls made, and waits for the last answer.
func (c Calls) Run(ctx context.Context, env Env) (*Result, error) {
	callers := make([]*caller, c.Connections)
	defer func() {
		for _, x := range callers {
			if x != nil && x.conn != nil {
				_ = x.conn.Close()
			}
		}
	}()
	for i := range callers {
		l, err := env.login(fmt.Sprint("bench-c", i), i)
		if err != nil {
			return nil, err
		}
		o := client.Options{Client: contracts.ClientID(l.Client), AnswerTime: time.Minute}
		if l.Token != "" {
			o.Token = client.StaticToken(l.Token)
		}
		conn, err := client.Dial(ctx, l.URL, o)
		if err != nil {
			return nil, err
		}
		callers[i] = &caller{conn: conn, number: i}
	}
	m := newMeter(c.Warm, c.For, c.Plot)
	var waiting sync.WaitGroup
	data := c.data()
	for _, x := range callers {
		for n := range c.Window {
			waiting.Add(1)
			c.next(x, m, data, n, &waiting)
		}
	}
	charged, err := env.measure(ctx, m, c.Name())
	if err != nil {
		return nil, err
	}
	waiting.Wait()
	r, got := newResult(), m.read()
	for _, x := range callers {
		r.account(x.sent.Load(), x.outcomes)
	}
	r.called(got, charged)
	r.Timeline = m.timeline.read()
	return r, nil
}

// data is that of each call.
func (c Calls) data() json.RawMessage {
	return json.RawMessage(`"` + strings.Repeat("x", c.Size-2) + `"`)
}

// called tells what calls have shown.
func (r *Result) called(got readings, charged charge) {
	r.balance()
	if bad := r.Sent - r.Outcomes[answeredCall]; bad > 0 {
		r.broke("%d of %d calls were not answered", bad, r.Sent)
	}
	r.Figures["calls_per_s"] = float64(got.counted) / charged.took.Seconds()
	r.latency("latency", got.latency)
	r.cpu("cpu_us_per_call", charged, float64(got.counted))
}

// Outcomes of calls that have no code of an error.
const (
	answeredCall = "answered"
	noAnswer     = "no answer"
)

// next makes a call of one place in the window, and the following one when it is answered, until the measured part is over.
func (c Calls) next(x *caller, m *meter, data json.RawMessage, place int, waiting *sync.WaitGroup) {
	due := m.now()
	if due >= m.measured.to {
		waiting.Done()
		return
	}
	n := x.sent.Add(1)
	o := client.CallOptions{Timeout: contracts.MaxCallTimeout}
	if c.Keys > 0 {
		o.Key = contracts.CallKey(fmt.Sprint("k", (n*uint64(c.Connections)+uint64(x.number))%uint64(c.Keys)))
	}
	done := func(_ json.RawMessage, err error) {
		outcome := answeredCall
		if err != nil {
			outcome = noAnswer
			if told, ok := errors.AsType[*contracts.Error](err); ok {
				outcome = string(told.Code)
			}
		} else {
			m.arrived(x.number, due, m.now())
		}
		x.mu.Lock()
		x.outcomes.add(outcome)
		x.mu.Unlock()
		if err != nil && !errors.As(err, new(*contracts.Error)) {
			waiting.Done() // the connection is gone
			return
		}
		c.next(x, m, data, place, waiting)
	}
	if err := x.conn.CallAsync(contracts.ServiceName(c.Service), data, o, done); err != nil {
		done(nil, err)
	}
}

// StartBackend starts the part that answers the calls of a run. The caller stops it.
func StartBackend(ctx context.Context, command []string, r BackendRequest) (*proc.Part, error) {
	p, err := proc.Start(ctx, command, BackendPart)
	if err != nil {
		return nil, err
	}
	if err := p.Call(ctx, r, &Count{}); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// Floor is the same number of bare requests under way over NATS, from one process, to as many instances that answer at once.
func (c Calls) Floor(ctx context.Context, env Env, r *Result) error {
	env.progress("the floor: NATS requests")
	var parts []*proc.Part
	defer func() {
		for _, p := range parts {
			p.Stop()
		}
	}()
	for _, name := range []string{floor.NATSPart, BackendPart, RequestPart} {
		p, err := proc.Start(ctx, env.Command, name)
		if err != nil {
			return err
		}
		parts = append(parts, p)
	}
	var at floor.NATS
	if err := parts[0].Call(ctx, struct{}{}, &at); err != nil {
		return err
	}
	backend := BackendRequest{NATS: at.URL, Service: c.Service, Instances: c.Instances}
	if err := parts[1].Call(ctx, backend, &Count{}); err != nil {
		return err
	}
	ask := RequesterRequest{BackendRequest: backend, Window: c.Connections * c.Window, Size: c.Size, For: time.Second}
	var got Count
	if err := parts[2].Call(ctx, ask, &got); err != nil { // to warm up
		return err
	}
	servers := []usage.Process{{Name: "nats", Source: usage.PID(parts[0].PID())}, {Name: "requester", Source: usage.PID(parts[2].PID())}}
	before, err := usage.Take(ctx, servers)
	if err != nil {
		return err
	}
	ask.For = min(floorTime, c.For)
	if err := parts[2].Call(ctx, ask, &got); err != nil {
		return err
	}
	after, err := usage.Take(ctx, servers)
	if err != nil {
		return err
	}
	if got.Answered == 0 {
		return errors.New("measure the floor: nothing was answered over NATS")
	}
	r.cpu("floor_request_us", charge{processes: servers, before: before, after: after}, float64(got.Answered))
	if cpu, ok := r.Figures["cpu_us_per_call"]; ok {
		r.Figures["ratio_to_request"] = cpu / r.Figures["floor_request_us"]
	}
	return nil
}
