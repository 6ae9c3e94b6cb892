package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Direct is messages between pairs of clients, the sender on one node and the recipient on another.
type Direct struct {
	Pairs  int
	Size   int           // of a message's data, in bytes
	Rate   float64       // messages per second of all pairs together, each at its time; 0: as many as Window allows
	Burst  int           // with Rate: so many are due at the same moment, each of another pair
	Window int           // messages of a pair that may wait for their answer, when there is no Rate
	Batch  bool          // with Window: what was answered together is followed by one frame, as a client library does it
	Warm   time.Duration // before anything is measured
	For    time.Duration // the measured part
	Plot   bool          // keep the latencies over the run
}

var _ Work = Direct{}

// Name is direct.
func (Direct) Name() string { return "direct" }

// Validate says what is wrong.
func (d Direct) Validate(env Env) error {
	switch {
	case d.Pairs < 1:
		return errors.New("pairs must be at least 1")
	case d.Size < MinSize:
		return fmt.Errorf("size must be at least %d: a message says who sent it and when", MinSize)
	case d.Rate < 0 || d.Rate == 0 && d.Window < 1:
		return errors.New("give a rate, or a window of at least 1")
	case d.Burst < 0 || d.Burst > d.Pairs:
		return errors.New("burst must be from 1 to the number of pairs")
	case d.Warm < 0 || d.For <= 0:
		return errors.New("the measured part must have some length")
	}
	return errors.Join(env.validate(), roomFor(2*d.Pairs))
}

// graceTime is how long a run waits, at its end, for the answers to the last messages.
const graceTime = 5 * time.Second

// Run connects the pairs, lets them talk, and waits for the last answer.
func (d Direct) Run(ctx context.Context, env Env) (*Result, error) {
	logins, err := d.logins(env)
	if err != nil {
		return nil, err
	}
	conns, err := connectAll(ctx, env.Driver, logins, env.progress)
	if err != nil {
		return nil, err
	}
	return d.talk(conns, logins).run(ctx, env, d)
}

// logins are the senders, then the recipients: the former on the first half of the nodes, the latter on the second, so
// that what either side costs is seen apart.
func (d Direct) logins(env Env) ([]Login, error) {
	half := max(1, len(env.URLs)/2)
	logins := make([]Login, 2*d.Pairs)
	for i := range d.Pairs {
		sender, err := env.login(fmt.Sprint("bench-s", i), i%half)
		if err != nil {
			return nil, err
		}
		recipient, err := env.login(fmt.Sprint("bench-r", i), half+i%max(1, len(env.URLs)-half))
		if err != nil {
			return nil, err
		}
		logins[i], logins[d.Pairs+i] = sender, recipient
	}
	spread(logins)
	return logins, nil
}

func (d Direct) talk(conns []Conn, logins []Login) *talk {
	t := &talk{meter: newMeter(d.Warm, d.For, d.Plot), schedule: schedule{rate: d.Rate, burst: d.Burst}, over: make(chan struct{})}
	for i := range d.Pairs {
		s := &sender{
			talk: t, number: i, conn: conns[i], name: logins[i].Client, to: logins[d.Pairs+i].Client,
			batch: d.Batch, data: newPayload(d.Size),
		}
		if d.Rate > 0 {
			s.due = func(seq uint64) int64 { return t.schedule.due(seq*uint64(d.Pairs) + uint64(i)) }
		} else {
			s.credits = d.Window
		}
		t.senders = append(t.senders, s)
		t.recipients = append(t.recipients, &recipient{talk: t, number: i, conn: conns[d.Pairs+i], name: logins[d.Pairs+i].Client})
	}
	return t
}

// talk is pairs that talk.
type talk struct {
	meter      *meter
	schedule   schedule // if there is a rate
	senders    []*sender
	recipients []*recipient
	readers    sync.WaitGroup
	over       chan struct{} // closed when connections may end
	fail       context.CancelCauseFunc
}

// run lets them talk. It ends all connections, whatever happens.
func (t *talk) run(ctx context.Context, env Env, d Direct) (*Result, error) {
	ctx, t.fail = context.WithCancelCause(ctx)
	defer t.fail(nil)
	defer t.end()
	defer context.AfterFunc(ctx, t.cut)() // frees a pacer that a stalled node does not let write
	t.read()
	sending := make(chan error, 1)
	go func() { sending <- t.send(ctx) }()
	c, err := env.measure(ctx, t.meter, d.Name())
	if err != nil {
		t.fail(err)
	}
	if sendErr := t.sent(sending); err == nil {
		err = sendErr
	}
	if err == nil {
		err = t.settle(ctx)
	}
	if err != nil {
		return nil, err
	}
	t.end()
	return t.result(c), nil
}

var errStalled = errors.New("the last messages could not be sent: a node does not read")

// sent waits for the pacer, which is through unless it cannot write.
func (t *talk) sent(sending <-chan error) error {
	patience := time.NewTimer(graceTime)
	defer patience.Stop()
	select {
	case err := <-sending:
		return err
	case <-patience.C:
		t.fail(errStalled)
		<-sending
		return errStalled
	}
}

// read starts the readers.
func (t *talk) read() {
	for _, s := range t.senders {
		t.readers.Go(func() { t.readAll(s.conn, s.name, s) })
	}
	for _, r := range t.recipients {
		t.readers.Go(func() { t.readAll(r.conn, r.name, r) })
	}
}

// batchHandler also wants to know when all that came together was handed over.
type batchHandler interface {
	Handler
	flush() error
}

func (t *talk) readAll(c Conn, name string, h batchHandler) {
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
}

// send sends until the measured part is over, if there is a rate; otherwise the readers do, answer by answer.
func (t *talk) send(ctx context.Context) error {
	if t.schedule.rate == 0 {
		return nil
	}
	n := uint64(len(t.senders))
	return t.schedule.run(ctx, t.meter.now, t.meter.measured.to, func(k uint64, due int64) error {
		one := t.senders[k%n]
		if err := one.send(due); err != nil {
			return ended(one.name, err)
		}
		return nil
	})
}

// settle waits until every message has its answer, and what was delivered is there; or until it is clear that it never
// will be.
func (t *talk) settle(ctx context.Context) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	deadline := time.NewTimer(graceTime)
	defer deadline.Stop()
	for !t.settled() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return nil // the account will show it
		case <-poll.C:
		}
	}
	return nil
}

func (t *talk) settled() bool {
	if t.meter.now() < t.meter.measured.to {
		return false
	}
	var delivered, arrived uint64
	for i, s := range t.senders {
		if s.answered.Load() < s.sent.Load() {
			return false
		}
		delivered += s.delivered.Load()
		arrived += t.recipients[i].arrived.Load()
	}
	return arrived >= delivered
}

// end ends all connections, and waits for the readers. It may be called twice.
func (t *talk) end() {
	select {
	case <-t.over:
		return
	default:
		close(t.over)
	}
	t.cut()
	t.readers.Wait()
}

func (t *talk) cut() {
	for i, s := range t.senders {
		_ = s.conn.Cut()
		_ = t.recipients[i].conn.Cut()
	}
}

// result adds up. Nothing moves any more.
func (t *talk) result(c charge) *Result {
	r := newResult()
	var lost, duplicated, reordered uint64
	for i, s := range t.senders {
		got := t.recipients[i]
		r.account(s.sent.Load(), s.outcomes)
		lost += got.checked.lost(s.acknowledged)
		duplicated += got.checked.duplicated
		reordered += got.checked.reordered
	}
	r.balance()
	r.check(lost, duplicated, reordered)
	read := t.meter.read()
	r.Figures["delivered_per_s"] = float64(read.counted) / c.took.Seconds()
	r.cpu("cpu_us_per_delivery", c, float64(read.counted))
	r.latency("latency", read.latency)
	r.latency("answer", read.answer)
	r.latency("late", read.late)
	r.Timeline = t.meter.timeline.read()
	if read.counted == 0 {
		r.broke("nothing was delivered in the measured part")
	}
	return r
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
