package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// EventsConfig says where events are told.
type EventsConfig struct {
	URL     string // http or https
	Secret  string // signs what is posted; empty: it is not signed
	Cluster string // whose events these are
	Node    string
	Start   string        // tells the events of this process from those of the one before it
	Timeout time.Duration // for one post; zero: 5 s
	First   time.Duration // bound of the wait after a post that failed, doubled with each more; zero: 500 ms
	Longest time.Duration // bound of that bound; zero: 30 s
	Logger  *slog.Logger
}

// Event is one thing that happened to a client.
type Event struct {
	ID      string          `json:"id"`    // set by [Events.Tell]: no two events have the same
	AtMS    int64           `json:"at_ms"` // likewise: milliseconds since 1970
	Event   string          `json:"event"` // connected, disconnected or undelivered
	Client  string          `json:"client"`
	Session string          `json:"session,omitempty"` // of connected
	Msg     json.RawMessage `json:"msg,omitempty"`     // of undelivered: as the client would have got it
}

// Bounds of what waits to be told, and of one post.
const (
	maxWaiting      = 10_000
	maxWaitingBytes = 8 << 20
	maxBatch        = 500
	maxBatchBytes   = 1 << 20 // of the body, all of it
	eventCost       = 128     // bytes of memory, besides the message
	maxTries        = 10      // posts of one batch: one to three minutes
)

// EventsStats counts events by what became of them. Their sum is the events, less those that wait.
type EventsStats struct {
	Told    uint64 // the backend took them
	Dropped uint64 // too many waited, or the node stopped
	Failed  uint64 // the backend did not take them, after all tries, or refused them
	Waiting int
}

// Events tells a backend of events, in order and many at a time. That is best effort: what a backend does not take is tried
// again for a while, what is too much is dropped, the newest first, and what waits when the process ends is lost. It is safe
// for concurrent use.
type Events struct {
	cfg  EventsConfig
	post *poster
	wake chan struct{} // holds one: something waits

	told, dropped, failed atomic.Uint64

	stop    context.CancelFunc
	stopped chan struct{} // closed when the sender has ended

	mu      sync.Mutex // guards the following
	waiting []Event
	bytes   int
	n       uint64
	closed  bool
}

// NewEvents returns events that are told until [Events.Close], or [ErrConfig].
func NewEvents(ctx context.Context, cfg EventsConfig) (*Events, error) {
	p, err := newPoster(cfg.URL, cfg.Secret)
	if err != nil {
		return nil, err
	}
	orElse := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	orElse(&cfg.Timeout, 5*time.Second)
	orElse(&cfg.First, 500*time.Millisecond)
	orElse(&cfg.Longest, 30*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Events{cfg: cfg, post: p, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	ctx, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(e.stopped)
		e.run(ctx)
	}()
	return e, nil
}

// Tell takes an event over. It does not wait; when too many wait already, the event is dropped and counted.
func (e *Events) Tell(x Event) {
	cost := eventCost + len(x.Msg)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.waiting) >= maxWaiting || e.bytes+cost > maxWaitingBytes {
		e.dropped.Add(1)
		return
	}
	e.n++
	x.ID, x.AtMS = e.cfg.Node+"-"+e.cfg.Start+"-"+strconv.FormatUint(e.n, 10), time.Now().UnixMilli()
	e.waiting = append(e.waiting, x)
	e.bytes += cost
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Stats returns what became of events so far.
func (e *Events) Stats() EventsStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return EventsStats{Told: e.told.Load(), Dropped: e.dropped.Load(), Failed: e.failed.Load(), Waiting: len(e.waiting)}
}

// Close tries once to tell what waits, as long as ctx is not over, and drops the rest.
func (e *Events) Close(ctx context.Context) {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.stop()
	<-e.stopped
	for body, n := e.next(); n > 0; body, n = e.next() {
		if ctx.Err() != nil || e.try(ctx, body) != nil {
			e.mu.Lock()
			e.dropped.Add(uint64(len(e.waiting)))
			e.waiting = nil
			e.mu.Unlock()
			break
		}
		e.took(n)
	}
	e.post.close()
}

// run tells what waits until ctx ends.
func (e *Events) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		for body, n := e.next(); n > 0 && ctx.Err() == nil; body, n = e.next() {
			e.tell(ctx, body, n)
		}
	}
}

// next returns the body of the next post, and how many of those that wait it tells of, the first ones. They go on waiting until
// took says that they were told, or given up.
func (e *Events) next() (body []byte, n int) {
	e.mu.Lock()
	n = min(len(e.waiting), maxBatch)
	first := e.waiting[:n:n]
	e.mu.Unlock()
	return e.encode(first)
}

// encode makes the body of a post of the first of these events, of as many as it has room for: at least one, which is no larger
// than that, since its message was a frame. There is no body if the first is no JSON.
func (e *Events) encode(events []Event) ([]byte, int) {
	body := fmt.Appendf(nil, `{"cluster":%q,"node":%q,"events":[`, e.cfg.Cluster, e.cfg.Node) // these need no escapes
	const end = "]}"
	var one bytes.Buffer
	enc := json.NewEncoder(&one)
	enc.SetEscapeHTML(false)
	for i := range events {
		one.Reset()
		err := enc.Encode(&events[i])
		switch {
		case err != nil && i == 0:
			return nil, 1
		case err != nil, i > 0 && len(body)+len(",")+one.Len()+len(end) > maxBatchBytes:
			return append(body, end...), i
		case i > 0:
			body = append(body, ',')
		}
		body = append(body, one.Bytes()...)
	}
	return append(body, end...), len(events)
}

// forget takes the first n from what waits.
func (e *Events) forget(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.waiting[:n] {
		e.bytes -= eventCost + len(x.Msg)
	}
	left := copy(e.waiting, e.waiting[n:])
	clear(e.waiting[left:])
	e.waiting = e.waiting[:left]
}

func (e *Events) took(n int) {
	e.told.Add(uint64(n))
	e.forget(n)
}

// tell posts n events until the backend takes them, says that it never will, or all tries have failed; or until ctx ends: then
// they wait for Close.
func (e *Events) tell(ctx context.Context, body []byte, n int) {
	bound := e.cfg.First
	for tries := 1; ; tries++ {
		err := e.try(ctx, body)
		if err == nil {
			e.took(n)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if tries == maxTries || errors.Is(err, errRefused) {
			e.cfg.Logger.Warn("events: the backend did not take them, and they are lost", slog.Int("events", n), slog.Any("error", err))
			e.failed.Add(uint64(n))
			e.forget(n)
			return
		}
		if tries == 1 {
			e.cfg.Logger.Warn("events: the backend did not take them; they are tried again", slog.Int("events", n), slog.Any("error", err))
		}
		// Half of the bound at least: what fails at once does not need ten tries within a second.
		timer := time.NewTimer(bound/2 + rand.N(bound/2+1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		bound = min(2*bound, e.cfg.Longest)
	}
}

// errRefused is wrapped by the error of a post that would be refused again.
var errRefused = errors.New("the backend refuses them")

// try posts events once. Any status of 200 to 299 says that the backend took them.
func (e *Events) try(ctx context.Context, body []byte) error {
	if len(body) == 0 {
		return fmt.Errorf("%w: it is no JSON", errRefused)
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	status, err := e.post.post(ctx, body)
	switch {
	case err != nil:
		return err
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: status %d", errRefused, status)
	case status < 200 || status > 299:
		return fmt.Errorf("%w: status %d", ErrUnavailable, status)
	}
	return nil
}
