package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/pace"
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
	t := &talk{traffic: newTraffic(newMeter(d.Warm, d.For, d.Plot), conns), schedule: pace.Schedule{Rate: d.Rate, Burst: d.Burst}}
	for i := range d.Pairs {
		s := &sender{
			talk: t, number: i, conn: conns[i], name: logins[i].Client, to: logins[d.Pairs+i].Client,
			batch: d.Batch, data: newPayload(d.Size),
		}
		if d.Rate > 0 {
			s.due = func(seq uint64) int64 { return t.schedule.Due(seq*uint64(d.Pairs) + uint64(i)) }
		} else {
			s.credits = d.Window
		}
		t.senders = append(t.senders, s)
		t.recipients = append(t.recipients, &recipient{traffic: t.traffic, sender: i, number: i, conn: conns[d.Pairs+i], name: logins[d.Pairs+i].Client})
	}
	return t
}

// talk is pairs that talk.
type talk struct {
	*traffic
	schedule   pace.Schedule // if there is a rate
	senders    []*sender
	recipients []*recipient
}

// run lets them talk.
func (t *talk) run(ctx context.Context, env Env, d Direct) (*Result, error) {
	readers := func() {
		for i, s := range t.senders {
			t.reader(s.conn, s.name, s)
			t.reader(t.recipients[i].conn, t.recipients[i].name, t.recipients[i])
		}
	}
	c, err := t.drive(ctx, env, d.Name(), readers, t.send, t.settled)
	if err != nil {
		return nil, err
	}
	return t.result(c), nil
}

// send sends until the measured part is over, if there is a rate; otherwise the readers do, answer by answer.
func (t *talk) send(ctx context.Context) error {
	if t.schedule.Rate == 0 {
		return nil
	}
	n := uint64(len(t.senders))
	return t.schedule.Run(ctx, t.meter.now, t.meter.measured.to, func(k uint64, due int64) error {
		one := t.senders[k%n]
		if err := one.send(due); err != nil {
			return ended(one.name, err)
		}
		return nil
	})
}

// settled reports whether every message has its answer, and what was delivered is there.
func (t *talk) settled() bool {
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

// result adds up. Nothing moves any more.
func (t *talk) result(c charge) *Result {
	r := newResult()
	var lost, duplicated, reordered uint64
	for i, s := range t.senders {
		got := t.recipients[i]
		r.account(s.sent.Load(), s.outcomes)
		lost += got.checked.lost(&s.acknowledged)
		duplicated += got.checked.duplicated
		reordered += got.checked.reordered
	}
	r.balance()
	r.check(lost, duplicated, reordered)
	r.tell(t.meter, c)
	return r
}
