package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// A server of many connections has a small heap that lives long and makes garbage fast. With Go's default the collector
// runs each time the heap has doubled: for a busy edge with few connections ten times a second and more, a third of its CPU
// (direct, saturated, 200 pairs: 8.0 us per message, and 5.3 with GOGC=400); for an idle one with many, what is left of
// their log-ins stays as long as the connections do. So the heap may grow by collectorRoom at least, and what is free is
// given back when it has been quiet.
const (
	collectorRoom  = 64 << 20
	collectorTick  = time.Second
	quietTicks     = 3       // so many ticks in which less than quietBytes was allocated
	quietBytes     = 1 << 20 // are quiet
	worthBytes     = 8 << 20 // that were allocated since the last time: less is not worth a collection, nor is an eighth of what lives
	defaultPercent = 100
	mostPercent    = 1600
)

// collector tunes Go's garbage collector while a server runs, unless GOGC says what it should do.
type collector struct {
	samples  []metrics.Sample
	percent  int
	before   uint64 // bytes allocated since the start, as of the last tick
	released uint64 // and when memory was given back last
	quiet    int
	set      func(percent int) int // debug.SetGCPercent
	giveBack func()                // debug.FreeOSMemory
}

// tuneCollector tunes until it is told to stop.
func (p *process) tuneCollector(ctx context.Context) (stop func()) {
	if p.getenv("GOGC") != "" {
		return func() {}
	}
	c := &collector{
		samples: []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}},
		percent: defaultPercent, set: debug.SetGCPercent, giveBack: debug.FreeOSMemory,
	}
	ctx, cancel := context.WithCancel(ctx)
	var loop sync.WaitGroup
	loop.Go(func() {
		tick := time.NewTicker(collectorTick)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				metrics.Read(c.samples)
				c.tick(c.samples[0].Value.Uint64(), c.samples[1].Value.Uint64())
			}
		}
	})
	return func() {
		cancel()
		loop.Wait()
		c.set(defaultPercent)
	}
}

// tick takes how many bytes were live at the last collection, and how many were allocated since the start.
func (c *collector) tick(live, allocated uint64) {
	if percent := percentFor(live); percent > c.percent*5/4 || percent < c.percent*4/5 { // setting it stops the world for a moment
		c.percent = percent
		c.set(percent)
	}
	if allocated-c.before < quietBytes {
		c.quiet++
	} else {
		c.quiet = 0
	}
	c.before = allocated
	if c.quiet >= quietTicks && allocated-c.released >= max(worthBytes, live/8) {
		c.released = allocated
		c.giveBack()
	}
}

// percentFor lets the heap grow by collectorRoom or to its double, whichever is more.
func percentFor(live uint64) int {
	return int(max(defaultPercent, min(mostPercent, collectorRoom*100/max(live, 1))))
}
