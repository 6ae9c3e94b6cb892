package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// mostSlices is how finely a long run is cut; a short one is cut into slices of 100 ms.
const mostSlices = 300

// timeline keeps the latencies of the measured part slice by slice, by when the messages were due.
type timeline struct {
	from, step int64
	slices     []slice
}

type slice struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram // guarded by mu
}

func newTimeline(measured span) *timeline {
	step := int64(100 * time.Millisecond)
	if (measured.to-measured.from)/step > mostSlices {
		step = int64(time.Second)
	}
	n := (measured.to - measured.from + step - 1) / step
	t := &timeline{from: measured.from, step: step, slices: make([]slice, n)}
	for i := range t.slices {
		t.slices[i].h = hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 2)
	}
	return t
}

func (t *timeline) add(due, latency int64) {
	i := (due - t.from) / t.step
	if due < t.from || i >= int64(len(t.slices)) {
		return
	}
	s := &t.slices[i]
	s.mu.Lock()
	record(s.h, latency)
	s.mu.Unlock()
}

// Slice is the latency of the messages that were due within one slice of the run, in milliseconds.
type Slice struct {
	At            float64 // when it began, in seconds since the measured part did
	P50, P99, Max float64
}

// read returns the slices in which something was due.
func (t *timeline) read() []Slice {
	if t == nil {
		return nil
	}
	var all []Slice
	for i := range t.slices {
		s := &t.slices[i]
		s.mu.Lock()
		if s.h.TotalCount() > 0 {
			all = append(all, Slice{
				At:  float64(int64(i)*t.step) / 1e9,
				P50: millis(s.h.ValueAtPercentile(50)), P99: millis(s.h.ValueAtPercentile(99)), Max: millis(s.h.Max()),
			})
		}
		s.mu.Unlock()
	}
	return all
}

// millis makes milliseconds of microseconds.
func millis(us int64) float64 { return float64(us) / 1000 }
