package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/pace"
)

// Fanout is one client that publishes to a group, whose members are on all nodes.
type Fanout struct {
	Members int
	Size    int           // of a message's data, in bytes
	Rate    float64       // messages per second, each of which all members get
	Warm    time.Duration // before anything is measured
	For     time.Duration // the measured part
	Plot    bool          // keep the latencies over the run
}

var _ Work = Fanout{}

// Name is fanout.
func (Fanout) Name() string { return "fanout" }

// Validate says what is wrong.
func (f Fanout) Validate(env Env) error {
	switch {
	case f.Members < 1:
		return errors.New("members must be at least 1")
	case f.Size < MinSize:
		return fmt.Errorf("size must be at least %d: a message says who sent it and when", MinSize)
	case f.Rate <= 0:
		return errors.New("rate must be positive")
	case f.Warm < 0 || f.For <= 0:
		return errors.New("the measured part must have some length")
	}
	return errors.Join(env.validate(), roomFor(f.Members+1))
}

// fanoutGroup is the group that all members are in.
const fanoutGroup = "bench-group"

// Run connects the members and the sender, and lets it publish.
func (f Fanout) Run(ctx context.Context, env Env) (*Result, error) {
	logins := make([]Login, 1+f.Members) // the sender is the first
	for i := range logins {
		l, err := env.login(fmt.Sprint("bench-m", i), max(0, i-1))
		if err != nil {
			return nil, err
		}
		if i > 0 {
			l.Group = fanoutGroup
		}
		logins[i] = l
	}
	spread(logins)
	conns, err := connectAll(ctx, env.Driver, logins, env.progress)
	if err != nil {
		return nil, err
	}
	room := &room{traffic: newTraffic(newMeter(f.Warm, f.For, f.Plot), conns), schedule: pace.Schedule{Rate: f.Rate}}
	room.publisher = &publisher{traffic: room.traffic, schedule: room.schedule, conn: conns[0], data: newPayload(f.Size)}
	for i := range f.Members {
		room.members = append(room.members, &recipient{traffic: room.traffic, number: i, conn: conns[1+i], name: logins[1+i].Client})
	}
	readers := func() {
		room.reader(conns[0], logins[0].Client, room.publisher)
		for _, m := range room.members {
			room.reader(m.conn, m.name, m)
		}
	}
	c, err := room.drive(ctx, env, f.Name(), readers, room.send, room.settled)
	if err != nil {
		return nil, err
	}
	return room.result(c), nil
}

// room is a group whose members listen to one publisher.
type room struct {
	*traffic
	schedule  pace.Schedule
	publisher *publisher
	members   []*recipient
}

func (r *room) send(ctx context.Context) error {
	return r.schedule.Run(ctx, r.meter.now, r.meter.measured.to, func(_ uint64, due int64) error { return r.publisher.send(due) })
}

// settled reports whether every message has its answer, and what went to the group is with every member.
func (r *room) settled() bool {
	p := r.publisher
	if p.answered.Load() < p.sent.Load() {
		return false
	}
	for _, m := range r.members {
		if m.arrived.Load() < p.good.Load() {
			return false
		}
	}
	return true
}

// result adds up. Nothing moves any more.
func (r *room) result(c charge) *Result {
	res := newResult()
	res.account(r.publisher.sent.Load(), r.publisher.outcomes)
	res.balance()
	var lost, duplicated, reordered uint64
	for _, m := range r.members {
		lost += m.checked.lost(&r.publisher.acknowledged)
		duplicated += m.checked.duplicated
		reordered += m.checked.reordered
	}
	res.check(lost, duplicated, reordered)
	res.tell(r.meter, c)
	return res
}
