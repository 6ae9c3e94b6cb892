package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// Storm is clients that lose their node at once, and come back to the others.
type Storm struct {
	Clients  int
	Patience time.Duration // by when all must be back
}

var _ Work = Storm{}

// Victim is a node that a storm ends.
type Victim struct {
	Name string       // among the servers, where it is charged no more
	Kill func() error // ends it, as kill -9 does
}

// Name is storm.
func (Storm) Name() string { return "storm" }

// Validate says what is wrong.
func (s Storm) Validate(env Env) error {
	switch {
	case s.Clients < 1:
		return errors.New("clients must be at least 1")
	case s.Patience <= 0:
		return errors.New("patience must be positive")
	case env.Victim.Kill == nil:
		return errors.New("it must be said which process is to be ended: --self, or --kill")
	case len(env.URLs) < 2:
		return errors.New("there must be two nodes at least: the first is lost")
	}
	return errors.Join(env.validate(), roomFor(s.Clients))
}

// Run connects all clients to the first node, ends it, and waits until they are back on the others.
func (s Storm) Run(ctx context.Context, env Env) (*Result, error) {
	logins := make([]Login, s.Clients)
	for i := range logins {
		l, err := env.login(fmt.Sprint("bench-c", i), 0)
		if err != nil {
			return nil, err
		}
		l.Quiet = true
		logins[i] = l
	}
	spread(logins)
	conns, err := connectAll(ctx, env.Driver, logins, env.progress)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, env, stormQuiet, "all are connected"); err != nil {
		cutAll(conns)
		return nil, err
	}
	run := &stormRun{env: env, logins: logins, times: hdrhistogram.New(1, int64(time.Hour/time.Microsecond), 3)}
	return run.blow(ctx, conns, s.Patience)
}

// stormQuiet lets the servers finish what connecting so many has left them to do.
const stormQuiet = time.Second

// stormRun is one storm.
type stormRun struct {
	// set once
	env    Env
	logins []Login

	began    atomic.Int64 // in Unix nanoseconds; 0: not yet
	attempts atomic.Int64
	back     atomic.Int64

	mu    sync.Mutex // guards the following
	times *hdrhistogram.Histogram
	peak  map[int64]int // how many came back in each peakStep since it began
	early error         // a connection ended before
}

// peakStep is the time over which the peak rate is counted.
const peakStep = 100 * time.Millisecond

// blow ends the node, and measures what comes of it.
func (r *stormRun) blow(ctx context.Context, conns []Conn, patience time.Duration) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { cutAll(conns) })()
	done := make(chan struct{})
	r.peak = map[int64]int{}
	survivors := r.survivors()
	before, err := usage.Take(ctx, survivors)
	spentBefore, spentErr := r.spent(ctx)
	if err = errors.Join(err, spentErr); err != nil {
		cutAll(conns)
		return nil, err
	}
	for i, c := range conns {
		clients.Go(func() { r.client(ctx, i, c, done) })
	}
	r.began.Store(time.Now().UnixNano())
	err = r.env.Victim.Kill()
	if err == nil {
		err = r.wait(ctx)
	}
	// When patience has ended, the account of what was reached by then is still made.
	calm := context.WithoutCancel(ctx)
	after, takeErr := usage.Take(calm, survivors)
	spentAfter, spentErr := r.spent(calm)
	close(done)
	cancel()
	clients.Wait()
	if err = errors.Join(err, takeErr, spentErr, r.early); err != nil {
		return nil, err
	}
	return r.result(charge{processes: survivors, before: before, after: after}, spentBefore, spentAfter), nil
}

// survivors are the processes that are charged: not the one that is ended.
func (r *stormRun) survivors() []usage.Process {
	var all []usage.Process
	for _, p := range r.env.Servers {
		if p.Name != r.env.Victim.Name {
			all = append(all, p)
		}
	}
	return all
}

func (r *stormRun) spent(ctx context.Context) (Spent, error) {
	if r.env.Spent == nil {
		return Spent{}, nil
	}
	return r.env.Spent(ctx)
}

// wait returns when all are back, or when patience ends.
func (r *stormRun) wait(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for r.back.Load() < int64(len(r.logins)) {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil
			}
			return context.Cause(ctx)
		case <-tick.C:
			r.env.progress(fmt.Sprintf("%d of %d are back", r.back.Load(), len(r.logins)))
		}
	}
	return nil
}

// client loses its connection and makes another, as the protocol asks: waits are drawn from the whole of a growing bound.
func (r *stormRun) client(ctx context.Context, i int, c Conn, done <-chan struct{}) {
	err := drain(c)
	_ = c.Cut()
	if r.began.Load() == 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.early = ended(r.logins[i].Client, err)
		return
	}
	l := r.logins[i]
	for failures := 0; ; failures++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff(failures)):
		}
		others := r.env.URLs[1:]
		l.URL = others[rand.IntN(len(others))]
		r.attempts.Add(1)
		if c, err = connect(ctx, r.env.Driver, l); err == nil {
			break
		}
	}
	r.isBack()
	ending := make(chan struct{})
	go func() {
		defer close(ending)
		_ = drain(c) // a client that is back answers pings
	}()
	<-done
	_ = c.Cut()
	<-ending
}

// isBack notes that a client is ready again.
func (r *stormRun) isBack() {
	took := time.Since(time.Unix(0, r.began.Load()))
	r.mu.Lock()
	record(r.times, int64(took))
	r.peak[int64(took/peakStep)]++
	r.mu.Unlock()
	r.back.Add(1)
}

// drain reads until the connection ends.
func drain(c Conn) error {
	for {
		if err := c.Read(nothing{}); err != nil {
			return err
		}
	}
}

// backoff is how long to wait after so many failures in a row: section 10 of the protocol.
func backoff(failures int) time.Duration {
	bound := time.Second
	if failures > 0 {
		bound = min(30*time.Second, 250*time.Millisecond<<min(failures+1, 7))
	}
	return rand.N(bound)
}

func (r *stormRun) result(c charge, before, after Spent) *Result {
	res, n, back := newResult(), len(r.logins), r.back.Load()
	res.Figures["connections"] = float64(n)
	res.Figures["attempts"] = float64(r.attempts.Load())
	if back > 0 {
		res.latency("back", r.times)
		res.cpu("connect_cpu_us", c, float64(back))
		most := 0
		for _, k := range r.peak {
			most = max(most, k)
		}
		res.Figures["peak_connects_per_s"] = float64(most) / peakStep.Seconds()
		if r.env.Spent != nil {
			res.Figures["redis_commands_per_client"] = float64(after.Redis-before.Redis) / float64(back)
			res.Figures["nats_messages_per_client"] = float64(after.NATS-before.NATS) / float64(back)
		}
	}
	if back < int64(n) {
		res.broke("%d of %d clients are not back", int64(n)-back, n)
	}
	return res
}
