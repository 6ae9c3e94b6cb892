package broker

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Gather puts work off to the end of the burst that makes it, so that what many messages of a burst add to one thing (a
// node message, a write to a client) goes out once. A burst is what comes in one piece: the requests of a frame, the
// records of a node message. There is no timer: outside any burst, marked things are flushed at once.
// It is safe for concurrent use.
type Gather[T any] struct {
	// Flush is called for each marked thing, once for each mark. Set it before the first use.
	Flush func(T)

	bursts atomic.Int32 // under way; a flush is one, so that what it marks does not nest
	mu     sync.Mutex
	marked []T // guarded by mu
	spare  []T // guarded by mu
}

// Begin begins a burst. Bursts may overlap, and nest.
func (g *Gather[T]) Begin() { g.bursts.Add(1) }

// End ends a burst and flushes all that is marked, by whichever burst: a long one holds nothing back for others.
func (g *Gather[T]) End() {
	g.bursts.Add(-1)
	g.flush()
}

// Mark has x flushed at the end of a burst that is under way, or now. Until it is, x should not be marked again.
func (g *Gather[T]) Mark(x T) {
	g.mu.Lock()
	g.marked = append(g.marked, x)
	g.mu.Unlock()
	// After the mark: either this sees that the last burst has ended, or its end sees the mark.
	if g.bursts.Load() == 0 {
		g.flush()
	}
}

func (g *Gather[T]) flush() {
	for yielded := false; ; {
		g.mu.Lock()
		if len(g.marked) == 0 {
			g.mu.Unlock()
			return
		}
		if !yielded {
			g.mu.Unlock()
			// Others that are ready to run add theirs first. It costs nothing when there are none, and makes bundles of 10
			// and more where connections have one message each.
			runtime.Gosched()
			yielded = true
			continue
		}
		marked := g.marked
		g.marked, g.spare = g.spare[:0], nil
		g.bursts.Add(1)
		g.mu.Unlock()
		for _, x := range marked {
			g.Flush(x)
		}
		clear(marked)
		g.put(marked)
		g.bursts.Add(-1)
	}
}

// put keeps a slice for the next flush.
func (g *Gather[T]) put(s []T) {
	g.mu.Lock()
	if cap(s) > cap(g.spare) && cap(s) < 1<<14 {
		g.spare = s[:0]
	}
	g.mu.Unlock()
}
