package bench

import (
	"context"
	"errors"
	"sync"
	"time"
)

// graceTime is how long a run waits, at its end, for the answers to the last messages.
const graceTime = 5 * time.Second

var errStalled = errors.New("the last messages could not be sent: a node does not read")

// traffic is clients that send and receive, while the servers are measured.
type traffic struct {
	// set once
	meter *meter
	fail  context.CancelCauseFunc // ends the run
	over  chan struct{}           // closed when connections may end

	readers sync.WaitGroup

	mu    sync.Mutex // guards the following
	conns []Conn
	done  bool
}

func newTraffic(m *meter, conns []Conn) *traffic {
	return &traffic{meter: m, conns: conns, over: make(chan struct{})}
}

// drive runs the traffic: it starts the readers, sends until the measured part is over, which it measures, and waits until
// all is settled. It ends all connections, whatever happens.
func (t *traffic) drive(ctx context.Context, env Env, name string, read func(), send func(context.Context) error, settled func() bool) (charge, error) {
	ctx, t.fail = context.WithCancelCause(ctx)
	defer t.fail(nil)
	defer t.end()
	defer context.AfterFunc(ctx, t.cut)() // frees a pacer that a stalled node does not let write
	read()
	sending := make(chan error, 1)
	go func() { sending <- send(ctx) }()
	c, err := env.measure(ctx, t.meter, name)
	if err != nil {
		t.fail(err)
	}
	if sendErr := t.sent(sending); err == nil {
		err = sendErr
	}
	if err == nil {
		err = t.settle(ctx, settled)
	}
	return c, err
}

// sent waits for the pacer, which is through unless it cannot write.
func (t *traffic) sent(sending <-chan error) error {
	patience := time.NewTimer(graceTime)
	defer patience.Stop()
	select {
	case err := <-sending:
		return err
	case <-patience.C:
		t.fail(errStalled)
		return errors.Join(errStalled, <-sending)
	}
}

// quietTime is how long nothing may have arrived for a run to be over: what nobody waits for may still come, twice or
// after an answer that it is not known.
const quietTime = 200 * time.Millisecond

// settle waits until nothing is on its way any more, or until it is clear that it never will be: the account will show it.
func (t *traffic) settle(ctx context.Context, settled func() bool) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	deadline := time.NewTimer(graceTime)
	defer deadline.Stop()
	last, since := t.meter.progress(), time.Now()
	for !settled() || time.Since(since) < quietTime {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return nil
		case <-poll.C:
		}
		if n := t.meter.progress(); n != last {
			last, since = n, time.Now()
		}
	}
	return nil
}

// batchHandler also wants to know when all that came together was handed over.
type batchHandler interface {
	Handler
	flush() error
}

// reader reads from a connection in a goroutine of its own. That the connection ends before the run is over, fails it.
func (t *traffic) reader(c Conn, name string, h batchHandler) {
	t.readers.Go(func() {
		err := h.flush()
		for err == nil {
			if err = c.Read(h); err == nil {
				err = h.flush()
			}
		}
		select {
		case <-t.over:
		default:
			t.fail(ended(name, err))
		}
	})
}

// end ends all connections, and waits for the readers.
func (t *traffic) end() {
	close(t.over)
	t.cut()
	t.readers.Wait()
}

func (t *traffic) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.done {
		t.done = true
		cutAll(t.conns)
	}
}

// replace puts a connection in the place of one that has ended, or cuts it, if the run is over.
func (t *traffic) replace(i int, c Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		_ = c.Cut()
		return
	}
	_ = t.conns[i].Cut()
	t.conns[i] = c
}

// tell tells what the meter shows.
func (r *Result) tell(m *meter, c charge) {
	read := m.read()
	r.Figures["delivered_per_s"] = float64(read.counted) / c.took.Seconds()
	r.cpu("cpu_us_per_delivery", c, float64(read.counted))
	r.latency("latency", read.latency)
	r.latency("answer", read.answer)
	r.latency("late", read.late)
	r.Timeline = m.timeline.read()
	if read.counted == 0 {
		r.broke("nothing was delivered in the measured part")
	}
}

// check tells what the checker has counted. None of it may happen.
func (r *Result) check(lost, duplicated, reordered uint64) {
	r.Figures["lost"], r.Figures["duplicated"], r.Figures["reordered"] = float64(lost), float64(duplicated), float64(reordered)
	if lost > 0 {
		r.broke("%d messages that were answered as delivered did not arrive", lost)
	}
	if duplicated > 0 {
		r.broke("%d messages arrived more than once", duplicated)
	}
	if reordered > 0 {
		r.broke("%d messages arrived out of order", reordered)
	}
}
