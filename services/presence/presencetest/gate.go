package presencetest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Gate stands between a directory and Redis: its Dial goes into [presence.Redis].Dialer. Cut is what a crash looks like
// from outside: a directory behind a cut gate renews nothing and gives nothing back, and can still be closed.
type Gate struct {
	// Base connects when the gate is open; nil means the network. Set once.
	Base func(ctx context.Context, network, addr string) (net.Conn, error)

	writes atomic.Int64

	mu    sync.Mutex
	cut   bool
	conns map[*gated]struct{}
}

var errCut = errors.New("the gate is cut")

// Dial connects, unless the gate is cut.
func (g *Gate) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if g.isCut() {
		return nil, errCut
	}
	base := g.Base
	if base == nil {
		base = new(net.Dialer).DialContext
	}
	c, err := base(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	wrapped := &gated{Conn: c, gate: g}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut {
		_ = c.Close()
		return nil, errCut
	}
	if g.conns == nil {
		g.conns = make(map[*gated]struct{})
	}
	g.conns[wrapped] = struct{}{}
	return wrapped, nil
}

func (g *Gate) isCut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cut
}

// Cut breaks all connections, and refuses new ones until Mend.
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = true
	for c := range g.conns {
		_ = c.Conn.Close()
	}
	clear(g.conns)
}

// Mend opens a cut gate.
func (g *Gate) Mend() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = false
}

// Writes returns how many writes went through, of all connections together: a pipeline is one, or a few if it is long.
func (g *Gate) Writes() int64 { return g.writes.Load() }

type gated struct {
	net.Conn
	gate *Gate
}

func (c *gated) Write(b []byte) (int, error) {
	c.gate.writes.Add(1)
	n, err := c.Conn.Write(b)
	return n, c.asPeer(err)
}

func (c *gated) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.asPeer(err)
}

// SetReadDeadline and SetWriteDeadline fail on a pipe that was cut.
func (c *gated) SetReadDeadline(t time.Time) error  { return c.asPeer(c.Conn.SetReadDeadline(t)) }
func (c *gated) SetWriteDeadline(t time.Time) error { return c.asPeer(c.Conn.SetWriteDeadline(t)) }

// asPeer makes a connection that was cut look as if the other side had ended it.
func (c *gated) asPeer(err error) error {
	if err == nil {
		return nil
	}
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	if _, whole := c.gate.conns[c]; whole {
		return err
	}
	return io.EOF
}

func (c *gated) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
