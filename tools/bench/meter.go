package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// span is a time of the run, in nanoseconds since its start.
type span struct{ from, to int64 }

func (s span) has(t int64) bool { return t >= s.from && t < s.to }

// meter takes the times of messages. Those that were due in the measured part count for latency, those that arrived in it
// for throughput.
type meter struct {
	// set once
	start    time.Time
	measured span
	timeline *timeline // nil: nobody wants it

	shards [16]shard
}

// shard is a part of the meter, so that readers do not wait for each other.
type shard struct {
	mu      sync.Mutex // guards the following
	latency *hdrhistogram.Histogram
	answer  *hdrhistogram.Histogram
	late    *hdrhistogram.Histogram
	total   uint64 // arrived since the start
	counted uint64 // arrived in the measured part
}

// newHistogram has three digits, from a microsecond to a minute.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
}

// newMeter starts the clock. Warm-up comes first, the measured part after it.
func newMeter(warm, measured time.Duration, withTimeline bool) *meter {
	m := &meter{start: time.Now(), measured: span{int64(warm), int64(warm + measured)}}
	if withTimeline {
		m.timeline = newTimeline(m.measured)
	}
	for i := range m.shards {
		s := &m.shards[i]
		s.latency, s.answer, s.late = newHistogram(), newHistogram(), newHistogram()
	}
	return m
}

// now is the time of the run.
func (m *meter) now() int64 { return int64(time.Since(m.start)) }

// record adds a time to a histogram; over its range is its end.
func record(h *hdrhistogram.Histogram, d int64) {
	_ = h.RecordValue(min(max(d/1000, 1), h.HighestTrackableValue()))
}

// arrived notes a message that a recipient has got.
func (m *meter) arrived(who int, due, now int64) {
	s := &m.shards[who%len(m.shards)]
	s.mu.Lock()
	s.total++
	if m.measured.has(now) {
		s.counted++
	}
	if m.measured.has(due) {
		record(s.latency, now-due)
	}
	s.mu.Unlock()
	if m.timeline != nil {
		m.timeline.add(due, now-due)
	}
}

// answered notes that a sender has heard what became of a message.
func (m *meter) answered(who int, due, now int64) {
	if !m.measured.has(due) {
		return
	}
	s := &m.shards[who%len(m.shards)]
	s.mu.Lock()
	record(s.answer, now-due)
	s.mu.Unlock()
}

// sent notes that a message is about to be sent, and by how much too late.
func (m *meter) sent(who int, due, now int64) {
	if !m.measured.has(due) {
		return
	}
	s := &m.shards[who%len(m.shards)]
	s.mu.Lock()
	record(s.late, now-due)
	s.mu.Unlock()
}

// progress returns how many have arrived so far.
func (m *meter) progress() (n uint64) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		n += s.total
		s.mu.Unlock()
	}
	return n
}

// readings are what a meter shows at the end.
type readings struct {
	latency, answer, late *hdrhistogram.Histogram
	counted               uint64
}

func (m *meter) read() readings {
	r := readings{latency: newHistogram(), answer: newHistogram(), late: newHistogram()}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		r.latency.Merge(s.latency)
		r.answer.Merge(s.answer)
		r.late.Merge(s.late)
		r.counted += s.counted
		s.mu.Unlock()
	}
	return r
}
