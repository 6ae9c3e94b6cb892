package edge

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Handler serves clients over WebSocket.
func (e *Edge) Handler() http.Handler { return newWebSockets(e) }

const drainStep = 50 * time.Millisecond

// Refuse takes no new connections from now on. What is connected stays.
func (e *Edge) Refuse() { e.draining.Store(true) }

// Drain takes no new connections, tells every client to move, and ends their sessions evenly spread over the given
// time, in random order, so that they do not all arrive elsewhere at once. It returns when all are gone, or when ctx is over:
// then what is left is cut.
func (e *Edge) Drain(ctx context.Context, over time.Duration) {
	e.draining.Store(true)
	sessions := e.connections()
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	moving := contracts.AppendMoving(nil, contracts.Moving{WithinMS: over.Milliseconds()})
	for _, s := range sessions {
		s.push(moving, receipt{})
	}
	start := time.Now()
	tick := time.NewTicker(drainStep)
	defer tick.Stop()
	for ended := 0; ; {
		due := len(sessions)
		if passed := time.Since(start); passed < over {
			due = int(float64(len(sessions)) * float64(passed) / float64(over))
		}
		for ; ended < due; ended++ {
			sessions[ended].end(contracts.CloseRestart, "this node restarts")
		}
		if ended == len(sessions) && e.open.Load() == 0 {
			return
		}
		select {
		case <-ctx.Done():
			e.cut()
			return
		case <-tick.C:
		}
		if ended == len(sessions) { // those that came in while draining began
			for _, s := range e.connections() {
				s.end(contracts.CloseRestart, "this node restarts")
			}
		}
	}
}

func (e *Edge) connections() []*Session {
	var all []*Session
	e.all.Range(func(_, s any) bool {
		all = append(all, s.(*Session))
		return true
	})
	return all
}

func (e *Edge) cut() {
	for _, s := range e.connections() {
		s.end(contracts.CloseRestart, "this node restarts")
		s.conn.Cut()
	}
}

// Draining tells whether Drain was called.
func (e *Edge) Draining() bool { return e.draining.Load() }

// Close cuts what is still connected, waits until every session is gone and every record removed, and ends the edge's own
// work; ctx bounds it. The courier must still work.
func (e *Edge) Close(ctx context.Context) {
	e.draining.Store(true)
	e.cut()
	tick := time.NewTicker(drainStep / 10)
	defer tick.Stop()
	for e.open.Load() > 0 && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	e.closing.Lock()
	e.closed = true
	e.closing.Unlock()
	stop := context.AfterFunc(ctx, e.cancel) // no more tries to remove records
	e.work.Wait()
	stop()
	e.cancel()
	e.resolvers.Wait()
	for i := range e.local {
		e.local[i].Close()
	}
}
