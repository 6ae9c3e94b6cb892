package broker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// thing is marked when it has something to flush, as a session or a link is.
type thing struct {
	mu      sync.Mutex
	waiting int
	marked  bool
	flushed int
}

func (x *thing) add(g *Gather[*thing]) {
	x.mu.Lock()
	x.waiting++
	mark := !x.marked
	x.marked = true
	x.mu.Unlock()
	if mark {
		g.Mark(x)
	}
}

func (x *thing) flush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.flushed += x.waiting
	x.waiting, x.marked = 0, false
}

func TestWhatIsMarkedIsFlushedSoonByWhomeverAndOnce(t *testing.T) {
	t.Parallel()
	const workers, bursts = 8, 500
	things := make([]thing, 2000)
	var rounds atomic.Int64
	g := &Gather[*thing]{Flush: (*thing).flush, Before: func() { rounds.Add(1) }}
	var added atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range bursts {
				g.Begin()
				for range rand.IntN(200) {
					added.Add(1)
					things[rand.IntN(len(things))].add(g)
				}
				g.End()
				things[rand.IntN(len(things))].add(g) // outside any burst of its own
				added.Add(1)
			}
		})
	}
	all.Wait()
	left := func() (waiting, flushed int) {
		for i := range things {
			things[i].mu.Lock()
			waiting += things[i].waiting
			flushed += things[i].flushed
			things[i].mu.Unlock()
		}
		return waiting, flushed
	}
	end := time.After(10 * time.Second)
	for waiting, flushed := left(); waiting > 0 || flushed != int(added.Load()); waiting, flushed = left() {
		select {
		case <-end:
			t.Fatalf("%d of %d were flushed, %d wait for ever", flushed, added.Load(), waiting)
		case <-time.After(time.Millisecond):
		}
	}
	if n := rounds.Load(); n >= added.Load() {
		t.Errorf("%d rounds for %d marks: nothing was gathered", n, added.Load())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flushing != 0 || len(g.marked) != 0 {
		t.Errorf("at rest, %d flush and %d are marked", g.flushing, len(g.marked))
	}
}

func TestAFlushThatMarksDoesNotNest(t *testing.T) {
	t.Parallel()
	depth, deepest, left := 0, 0, 1000
	done := make(chan struct{})
	var g *Gather[int]
	g = &Gather[int]{Flush: func(x int) {
		depth++
		deepest = max(deepest, depth)
		if left--; left > 0 {
			g.Mark(x + 1)
		} else {
			close(done)
		}
		depth--
	}}
	g.Mark(0)
	<-done
	if deepest != 1 {
		t.Errorf("flushes nest %d deep", deepest)
	}
}
