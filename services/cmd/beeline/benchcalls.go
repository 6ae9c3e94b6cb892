package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/backend"
	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/proc"
)

// benchCallsCmd is the work calls.
type benchCallsCmd struct {
	Bench       benchFlags `embed:""`
	Service     string     `name:"service" default:"bench" placeholder:"${default}" help:"What is called. With --self it is a service that answers at once; a system that runs must have one."`
	Instances   int        `name:"instances" default:"3" placeholder:"${default}" help:"With --self, and for --floor: instances of the service."`
	Connections int        `name:"connections" default:"50" placeholder:"${default}" help:"Connections, spread over all nodes."`
	Window      int        `name:"window" default:"16" placeholder:"${default}" help:"Calls of a connection that wait for their answer."`
	Keys        int        `name:"keys" default:"1000" placeholder:"${default}" help:"Message keys that are called by turns; 0: calls without a key."`
	Size        size       `name:"size" default:"128" placeholder:"${default}" help:"Data of a call, in bytes, and of its answer."`
	HTTP        bool       `name:"http" help:"With --self: the instances are HTTP servers, which HAProxy and nginx balance the same requests over in the same run, turn about, each with as many under way, over connections that are kept."`
	HAProxy     string     `name:"haproxy" default:"haproxy" placeholder:"${default}" help:"With --http, the program. It is looked for where administrators have it, too."`
	Nginx       string     `name:"nginx" default:"nginx" placeholder:"${default}" help:"With --http, the program, likewise."`
}

// Help is the text between the usage and the flags.
func (*benchCallsCmd) Help() string {
	return "How many calls of a backend service the servers carry, and what CPU time each takes:\n\n" +
		"  beeline bench calls --self --floor\n\n" +
		"The floor is a bare request and reply over NATS, from one process to instances that answer at once. What the instances take is charged to nobody.\n\n" +
		"A service of HTTP servers, called by the edges, and balanced by HAProxy and by nginx:\n\n" +
		"  beeline bench calls --self --http --rounds 3\n\n" +
		"Figures with the name of a proxy are of its processes; those of the servers are the edges', Redis's and NATS's together."
}

// Run runs the work.
func (c *benchCallsCmd) Run(ctx context.Context, p *process) error {
	settings := map[string]string{
		"connections": fmt.Sprint(c.Connections), "window": fmt.Sprint(c.Window), "keys": fmt.Sprint(c.Keys), "size": c.Size.String(),
		"instances": fmt.Sprint(c.Instances), "measured": c.Bench.For.String(),
	}
	c.Bench.service, c.Bench.instances = c.Service, c.Instances
	work := bench.Calls{
		Service: c.Service, Connections: c.Connections, Window: c.Window, Keys: c.Keys, Size: int(c.Size), Instances: c.Instances,
		Warm: c.Bench.Warm, For: c.Bench.For, Plot: c.Bench.Plot != "",
	}
	if !c.HTTP {
		return c.Bench.run(ctx, p, work, settings)
	}
	if err := c.overHTTP(); err != nil {
		return err
	}
	settings["instances"] += " over HTTP"
	return c.Bench.run(ctx, p, bench.HTTPCalls{Calls: work}, settings)
}

// overHTTP says how the instances are called, and finds the proxies before anything is started.
func (c *benchCallsCmd) overHTTP() (err error) {
	switch {
	case !c.Bench.Self:
		return usagef("--http goes with --self: the proxies are put in front of instances that are started here")
	case c.Bench.Floor:
		return usagef("--floor is for calls over NATS: measure it without --http")
	}
	c.Bench.http = &httpCalls{underWay: c.Connections * c.Window, size: int(c.Size)}
	if c.Bench.http.haproxy, err = findProxy("haproxy", "HAProxy", c.HAProxy); err != nil {
		return err
	}
	c.Bench.http.nginx, err = findProxy("nginx", "nginx", c.Nginx)
	return err
}

// withBackend gives a system of its own the service that is called.
func (f *benchFlags) withBackend(ctx context.Context, command []string, t *target) (*target, error) {
	if f.service == "" {
		return t, nil
	}
	p, err := bench.StartBackend(ctx, command, bench.BackendRequest{NATS: t.nats, Service: f.service, Instances: f.instances})
	if err != nil {
		return nil, errors.Join(err, t.stop(context.WithoutCancel(ctx)))
	}
	stop := t.stop
	t.stop = func(ctx context.Context) error {
		p.Stop()
		return stop(ctx)
	}
	return t, nil
}

// serveBackend runs instances of a service in this process, from the first request on.
func serveBackend(ctx context.Context, p *process) error {
	var conn *broker.Conn
	var all []*backend.Instance
	defer func() {
		ctx := context.WithoutCancel(ctx)
		for _, i := range all {
			_ = i.Close(ctx)
		}
		if conn != nil {
			conn.Close(ctx)
		}
	}()
	return proc.Serve(ctx, p.stdin, p.stdout, func(ctx context.Context, request json.RawMessage) (any, error) {
		var r bench.BackendRequest
		err := json.Unmarshal(request, &r)
		if err == nil && conn == nil {
			conn, err = broker.Connect(ctx, broker.Config{URLs: []string{r.NATS}, Name: "bench backend"})
		}
		for n := len(all); err == nil && n < r.Instances; n++ {
			var i *backend.Instance
			i, err = backend.Register(ctx, backend.Options{
				Service: contracts.ServiceName(r.Service), Instance: contracts.InstanceID(fmt.Sprint("b", n)), Conn: conn, Capacity: 16, Waiting: 1 << 16,
				Life:    10 * time.Second,
				Handler: func(_ context.Context, c backend.Call) (json.RawMessage, error) { return c.Data, nil },
			})
			if err == nil {
				all = append(all, i)
			}
		}
		return bench.Count{}, err
	})
}

// requester makes bare requests to instances.
type requester struct {
	calls *broker.Calls
	r     bench.RequesterRequest
	task  []byte
	until time.Time

	mu        sync.Mutex
	instances []contracts.Subject // guarded by mu

	next     atomic.Uint64
	answered atomic.Uint64
	waiting  sync.WaitGroup
}

// Reported takes note of an instance.
func (q *requester) Reported(r contracts.Report, at contracts.Subject) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if string(r.Service) == q.r.Service && !slices.Contains(q.instances, at) {
		q.instances = append(q.instances, at)
	}
}

// Missed has nothing to do here.
func (*requester) Missed(contracts.ServiceName, contracts.InstanceID, contracts.Epoch) {}

// send makes the next request of one place in the window.
func (q *requester) send() {
	if time.Now().After(q.until) {
		q.waiting.Done()
		return
	}
	to := q.instances[q.next.Add(1)%uint64(len(q.instances))] // nobody adds any more
	q.calls.Call(to, q.task, q.until.Add(time.Second), q)
}

// Ended counts an answer, and goes on.
func (q *requester) Ended(_ []byte, st contracts.Status) {
	if st != contracts.StatusDelivered {
		q.waiting.Done()
		return
	}
	q.answered.Add(1)
	q.send()
}

// serveRequester makes bare requests from this process.
func serveRequester(ctx context.Context, p *process) error {
	var conn *broker.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	return proc.Serve(ctx, p.stdin, p.stdout, func(ctx context.Context, request json.RawMessage) (any, error) {
		q := &requester{}
		if err := json.Unmarshal(request, &q.r); err != nil {
			return nil, err
		}
		var err error
		if conn == nil {
			if conn, err = broker.Connect(ctx, broker.Config{URLs: []string{q.r.NATS}, Name: "bench requester"}); err != nil {
				return nil, err
			}
		}
		if q.calls, err = broker.OpenCalls(ctx, conn, "a", "requester", q, nil); err != nil {
			return nil, err
		}
		defer q.calls.Close()
		if err := q.find(ctx); err != nil {
			return nil, err
		}
		q.task = contracts.AppendTask(nil, contracts.Task{
			Client: "bench-c0", Session: contracts.NewSessionID(), Timeout: time.Minute, Data: []byte(`"` + strings.Repeat("x", max(0, q.r.Size-2)) + `"`),
		})
		q.until = time.Now().Add(q.r.For)
		q.waiting.Add(q.r.Window)
		for range q.r.Window {
			q.send()
		}
		q.waiting.Wait()
		return bench.Count{Answered: q.answered.Load()}, nil
	})
}

// find waits until all instances have reported.
func (q *requester) find(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		q.mu.Lock()
		n := len(q.instances)
		q.mu.Unlock()
		if n >= q.r.Instances {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("the instances do not report")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
