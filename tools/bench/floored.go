package bench

import (
	"context"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/floor"
)

// Floored is a work of which a part cannot be avoided.
type Floored interface {
	Work
	// Floor measures that, as this run of the work had it, and adds it to the result, with ratios to it.
	Floor(ctx context.Context, env Env, r *Result) error
}

var (
	_ Floored = Direct{}
	_ Floored = Fanout{}
	_ Floored = Idle{}
)

// floorTime is how long each floor is measured.
const floorTime = 3 * time.Second

// frameHead is about how much a delivered frame is larger than the data in it.
const frameHead = 48

// Floor is a write for each message, and a message through NATS, both at the rate that was reached.
func (d Direct) Floor(ctx context.Context, env Env, r *Result) error {
	p := floor.Pattern{Rate: r.Figures["delivered_per_s"], Burst: d.Burst, Size: d.Size + frameHead, For: min(floorTime, d.For)}
	if d.Rate == 0 {
		p.Burst = d.Window // what may wait at a time, may go through NATS at a time
	}
	return messageFloor(ctx, env, r, d.Pairs, p, p)
}

// Floor is a loop of writes to all members for each message, and for each message one through NATS.
func (f Fanout) Floor(ctx context.Context, env Env, r *Result) error {
	hops := floor.Pattern{Rate: f.Rate, Size: f.Size + frameHead, For: min(floorTime, f.For)}
	writes := hops
	writes.Rate, writes.Burst = f.Rate*float64(f.Members), f.Members
	return messageFloor(ctx, env, r, f.Members, writes, hops)
}

func messageFloor(ctx context.Context, env Env, r *Result, conns int, writes, hops floor.Pattern) error {
	env.progress("the floor: writes")
	write, err := floor.Write(ctx, env.Command, conns, writes)
	if err != nil {
		return err
	}
	env.progress("the floor: NATS")
	hop, err := floor.Hop(ctx, env.Command, hops)
	if err != nil {
		return err
	}
	r.Figures["floor_write_us"], r.Figures["floor_nats_us"] = micros(write), micros(hop)
	each := micros(write) + micros(hop)*hops.Rate/writes.Rate // of a message through NATS, each delivery has its share
	r.Figures["floor_us_per_delivery"] = each
	if cpu, ok := r.Figures["cpu_us_per_delivery"]; ok {
		r.Figures["ratio_to_write"], r.Figures["ratio_to_floor"] = cpu/micros(write), cpu/each
	}
	return nil
}

// fewestHeld is of how many connections the floor of idle is at least: the memory of few is lost in what a process takes
// anyway.
const fewestHeld = 5000

// Floor is as many connections that are accepted and held, up to what one process has files for.
func (i Idle) Floor(ctx context.Context, env Env, r *Result) error {
	env.progress("the floor: connections")
	n := max(i.Connections, fewestHeld)
	if limit := fileLimit(); limit > 2*filesForOthers {
		n = min(n, limit-filesForOthers)
	}
	held, err := floor.Accept(ctx, env.Command, n)
	if err != nil {
		return err
	}
	rss := held.RSS / 1024
	r.Figures["floor_connect_us"], r.Figures["floor_rss_kib"] = micros(held.CPU), rss
	if cpu, ok := r.Figures["connect_cpu_us"]; ok && rss > 0 {
		r.Figures["ratio_connect"], r.Figures["ratio_rss"] = cpu/micros(held.CPU), r.Figures["rss_kib_per_connection"]/rss
	}
	return nil
}
