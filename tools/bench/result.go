package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// Result is what one run of a work has shown.
type Result struct {
	Sent     uint64             // messages, from the first to the last: the warm-up too
	Outcomes map[string]uint64  // what became of them; the sum is Sent, or the run is broken
	Figures  map[string]float64 // by the names that [Fields] explains; of one process with a dot and its name
	Timeline []Slice
	Broken   []string // what the system, or the run, has not kept: sentences
}

// unanswered is the outcome of a message of which nobody said what became of it, on a connection that held.
const unanswered = "unanswered"

func newResult() *Result {
	return &Result{Outcomes: map[string]uint64{}, Figures: map[string]float64{}}
}

// broke notes what was not kept.
func (r *Result) broke(format string, args ...any) {
	r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
}

// account adds up what became of the messages.
func (r *Result) account(sent uint64, outcomes tally) {
	r.Sent += sent
	for _, o := range outcomes.counts {
		r.Outcomes[o.name] += o.n
	}
}

// balance breaks the run unless each message that was sent has exactly one outcome.
func (r *Result) balance() {
	var sum uint64
	for _, n := range r.Outcomes {
		sum += n
	}
	if sum < r.Sent {
		r.Outcomes[unanswered] = r.Sent - sum
		r.broke("%d of %d messages have no answer", r.Sent-sum, r.Sent)
	}
	if sum > r.Sent {
		r.broke("there are %d answers to %d messages", sum, r.Sent)
	}
}

// latency tells a histogram of microseconds as figures in milliseconds.
func (r *Result) latency(prefix string, h *hdrhistogram.Histogram) {
	if h.TotalCount() == 0 {
		return
	}
	for _, p := range []struct {
		name string
		at   float64
	}{{"p50", 50}, {"p99", 99}, {"p999", 99.9}} {
		r.Figures[prefix+"_"+p.name+"_ms"] = millis(h.ValueAtPercentile(p.at))
	}
	r.Figures[prefix+"_max_ms"] = millis(h.Max())
}

// charge is what the servers have taken from one moment to another.
type charge struct {
	processes     []usage.Process
	before, after usage.Table
	took          time.Duration
}

// cpu tells what the servers spent for each of n things, in microseconds.
func (r *Result) cpu(name string, c charge, n float64) {
	if len(c.processes) == 0 || n == 0 {
		return
	}
	var total time.Duration
	for i, p := range c.processes {
		d := c.after[i].Since(c.before[i])
		total += d
		r.Figures[name+"."+p.Name] = micros(d) / n
	}
	r.Figures[name] = micros(total) / n
}

// memory tells by how much the servers' memory grew for each of n connections, in KiB: of those that clients connect to
// under the plain name.
func (r *Result) memory(name string, c charge, n float64) {
	if len(c.processes) == 0 {
		return
	}
	total := 0.0
	for i, p := range c.processes {
		each := float64(c.after[i].RSS-c.before[i].RSS) / 1024 / n
		r.Figures[name+"."+p.Name] = each
		if p.Client {
			total += each
		}
	}
	r.Figures[name] = total
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// measure waits for the measured part of a run, and returns what the servers took in it. It tells how it goes.
func (e Env) measure(ctx context.Context, m *meter, name string) (charge, error) {
	c := charge{processes: e.Servers}
	var err error
	if err = e.until(ctx, m, m.measured.from, name+", warming up"); err != nil {
		return c, err
	}
	began := time.Now()
	if c.before, err = usage.Take(ctx, e.Servers); err != nil {
		return c, err
	}
	profiled := make(chan error, 1)
	go func() {
		if e.Profile == nil {
			profiled <- nil
			return
		}
		profiled <- e.Profile(ctx, time.Duration(m.measured.to-m.measured.from))
	}()
	err = e.until(ctx, m, m.measured.to, name)
	if err == nil {
		c.after, err = usage.Take(ctx, e.Servers)
	}
	c.took = time.Since(began)
	if profileErr := <-profiled; err == nil {
		err = profileErr
	}
	return c, err
}

// until waits for a moment of the run.
func (e Env) until(ctx context.Context, m *meter, moment int64, what string) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	end := time.NewTimer(time.Duration(moment - m.now()))
	defer end.Stop()
	last := m.progress()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-end.C:
			return nil
		case <-tick.C:
			n := m.progress()
			e.progress(fmt.Sprintf("%s: %d/s delivered, %v left", what, n-last, time.Duration(moment-m.now()).Round(time.Second)))
			last = n
		}
	}
}
