package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/proc"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// Idle is connections over which nothing is said.
type Idle struct {
	Connections int
	Settle      time.Duration // from the last connection to when memory is looked at: garbage collectors take their time
	For         time.Duration // how long they are kept, for what that costs
}

var _ Work = Idle{}

// Name is idle.
func (Idle) Name() string { return "idle" }

// filesForOthers is how many of its files a process that holds connections keeps for other things.
const filesForOthers = 200

// Validate says what is wrong.
func (i Idle) Validate(env Env) error {
	switch {
	case i.Connections < 1:
		return errors.New("connections must be at least 1")
	case i.Settle < 0 || i.For <= 0:
		return errors.New("the measured part must have some length")
	case len(env.Command) == 0:
		return errors.New("there is no command for the processes that hold the connections")
	}
	limit, each := fileLimit(), (i.Connections+len(env.URLs)-1)/max(1, len(env.URLs))
	if limit > 0 && env.Spent != nil && each+filesForOthers > limit {
		return fmt.Errorf("%d connections on each of %d edges need more files than the %d that a process may have: give more edges (--edges %d), or raise the limit (ulimit -n)",
			each, len(env.URLs), limit, i.Connections/(limit-filesForOthers)+1)
	}
	return env.validate()
}

// Run connects, waits, and looks at the servers in between. The connections are held by processes of their own: one has
// files for so many only.
func (i Idle) Run(ctx context.Context, env Env) (*Result, error) {
	holders, err := i.holders(ctx, env)
	defer holders.stop()
	if err != nil {
		return nil, err
	}
	var moments [4]usage.Table // before, connected, settled, at the end
	look := func(n int) error {
		var err error
		moments[n], err = usage.Take(ctx, env.Servers)
		return err
	}
	if err := look(0); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := holders.connect(ctx, env); err != nil {
		return nil, err
	}
	took := time.Since(began)
	if err := look(1); err != nil {
		return nil, err
	}
	if err := pause(ctx, env, i.Settle, "the servers settle"); err != nil {
		return nil, err
	}
	if err := look(2); err != nil {
		return nil, err
	}
	kept := time.Now()
	if err := i.keep(ctx, env); err != nil {
		return nil, err
	}
	if err := look(3); err != nil {
		return nil, err
	}
	r := i.result(env, moments, took, time.Since(kept))
	return r, holders.check(ctx, r)
}

// keep waits for the measured part, and has it profiled.
func (i Idle) keep(ctx context.Context, env Env) error {
	profiled := make(chan error, 1)
	go func() {
		if env.Profile == nil {
			profiled <- nil
			return
		}
		profiled <- env.Profile(ctx, i.For)
	}()
	err := pause(ctx, env, i.For, fmt.Sprintf("%d connections are kept", i.Connections))
	return errors.Join(err, <-profiled)
}

func (i Idle) result(env Env, m [4]usage.Table, connecting, keeping time.Duration) *Result {
	r, n := newResult(), float64(i.Connections)
	between := func(a, b int) charge { return charge{processes: env.Servers, before: m[a], after: m[b]} }
	r.Figures["connections"] = n
	r.Figures["connects_per_s"] = n / connecting.Seconds()
	r.cpu("connect_cpu_us", between(0, 1), n)
	r.memory("rss_kib_per_connection", between(0, 2), n)
	r.memory("rss_end_kib_per_connection", between(0, 3), n)
	r.cpu("keep_cpu_us_per_s", between(2, 3), n*keeping.Seconds())
	return r
}

// holders are processes that hold connections.
type holders struct {
	parts  []*proc.Part
	logins [][]Login // what each holds
}

// holders starts as many as are needed.
func (i Idle) holders(ctx context.Context, env Env) (*holders, error) {
	h := &holders{}
	each := i.Connections
	if limit := fileLimit(); limit > 2*filesForOthers {
		each = min(each, limit-filesForOthers)
	}
	logins := make([]Login, i.Connections)
	for k := range logins {
		l, err := env.login(fmt.Sprint("bench-i", k), k)
		if err != nil {
			return h, err
		}
		l.Quiet = true
		logins[k] = l
	}
	spread(logins)
	for from := 0; from < len(logins); from += each {
		p, err := proc.Start(ctx, env.Command, HoldPart)
		if err != nil {
			return h, err
		}
		h.parts = append(h.parts, p)
		h.logins = append(h.logins, logins[from:min(from+each, len(logins))])
	}
	return h, nil
}

// connectStep is how many connections are asked for at a time: so often is told how it goes.
const connectStep = 1000

// connect makes all connections, in all processes at the same time.
func (h *holders) connect(ctx context.Context, env Env) error {
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		errs []error
		done int
	)
	for k, p := range h.parts {
		all.Go(func() {
			for rest := h.logins[k]; len(rest) > 0; {
				step := rest[:min(connectStep, len(rest))]
				rest = rest[len(step):]
				var a holdAnswer
				err := p.Call(ctx, holdRequest{Connect: step, AtOnce: max(1, connectAtOnce/len(h.parts))}, &a)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				}
				done += len(step)
				env.progress(fmt.Sprintf("%d connections", done))
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// check breaks the run if connections have ended.
func (h *holders) check(ctx context.Context, r *Result) error {
	for _, p := range h.parts {
		var a holdAnswer
		if err := p.Call(ctx, holdRequest{}, &a); err != nil {
			return err
		}
		if a.Ended > 0 {
			r.broke("%d of %d connections ended: %s", a.Ended, a.Ended+a.Held, a.Why)
		}
	}
	return nil
}

func (h *holders) stop() {
	var all sync.WaitGroup
	for _, p := range h.parts {
		all.Go(p.Stop)
	}
	all.Wait()
}

// pause waits, and tells why.
func pause(ctx context.Context, env Env, d time.Duration, why string) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	end := time.NewTimer(d)
	defer end.Stop()
	for began := time.Now(); ; {
		env.progress(fmt.Sprintf("%s, %v left", why, (d - time.Since(began)).Round(time.Second)))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-end.C:
			return nil
		case <-tick.C:
		}
	}
}
