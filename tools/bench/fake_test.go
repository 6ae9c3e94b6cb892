package bench

import (
	"context"
	"io"
	"slices"
	"sync"
)

// fake is a system in this process. Its fields say what it does wrong.
type fake struct {
	mu      sync.Mutex // guards the following
	clients map[string]*fakeConn
	groups  map[string][]*fakeConn

	// set once
	onSend  func(id uint64)        // before a request is taken: it may wait
	outcome func(id uint64) string // "" is Delivered, or Sent
	copies  func(id uint64) int    // how often a message arrives; nil: once
	swap    bool                   // every second message comes before the first
	silent  func(id uint64) bool   // no answer
}

func newFake() *fake {
	return &fake{clients: map[string]*fakeConn{}, groups: map[string][]*fakeConn{}}
}

type fakeConn struct {
	system *fake
	events chan func(Handler)
	ended  chan struct{}
	once   sync.Once
	held   []func(Handler) // of a system that swaps
}

func (f *fake) Dial(_ context.Context, l Login) (Conn, error) {
	c := &fakeConn{system: f, events: make(chan func(Handler), 100_000), ended: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients[l.Client] = c
	if l.Group != "" {
		f.groups[l.Group] = append(f.groups[l.Group], c)
	}
	return c, nil
}

func (c *fakeConn) Send(requests ...Request) error {
	f := c.system
	for _, r := range requests {
		if f.onSend != nil {
			f.onSend(r.ID)
		}
		f.mu.Lock()
		to, outcome := []*fakeConn{f.clients[r.To]}, Delivered
		if r.Group != "" {
			to, outcome = f.groups[r.Group], Sent
		}
		copies := 1
		if f.copies != nil {
			copies = f.copies(r.ID)
		}
		for _, one := range to {
			for range copies {
				one.show(string(r.Data))
			}
		}
		f.mu.Unlock()
		if f.outcome != nil && f.outcome(r.ID) != "" {
			outcome = f.outcome(r.ID)
		}
		if f.silent == nil || !f.silent(r.ID) {
			c.events <- func(h Handler) { h.Answer(r.ID, outcome) }
		}
	}
	return nil
}

// show hands a message over; the caller has the system's lock.
func (c *fakeConn) show(data string) {
	c.held = append(c.held, func(h Handler) { h.Message([]byte(data)) })
	if c.system.swap && len(c.held) == 1 {
		return
	}
	for _, event := range slices.Backward(c.held) {
		c.events <- event
	}
	c.held = nil
}

func (c *fakeConn) Read(h Handler) error {
	select {
	case e := <-c.events:
		e(h)
		return nil
	case <-c.ended:
		return io.EOF
	}
}

func (c *fakeConn) Bye() error { return c.Cut() }

func (c *fakeConn) Cut() error {
	c.once.Do(func() { close(c.ended) })
	return nil
}
