package presencetest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/services/presence"
)

// Mini is a miniredis without a network: for synctest bubbles, in whose time its keys expire.
type Mini struct{ *miniredis.Miniredis }

// miniAddr is dialled by nobody. It is an IP address because go-redis looks up names, and the resolver belongs to one
// bubble.
const miniAddr = "127.0.0.1:6379"

// StartMini starts a miniredis that ends with the test, or with the bubble if it is called in one.
// It walks over all its keys at every command, so it is for hundreds of clients, not for thousands.
func StartMini(tb testing.TB) *Mini {
	tb.Helper()
	mr := miniredis.NewMiniRedis()
	mr.ClockTTL(true) // or no key would ever expire
	tb.Cleanup(mr.Close)
	return &Mini{mr}
}

// Config returns how a directory reaches it.
func (m *Mini) Config() presence.Redis {
	return presence.Redis{Addrs: []string{miniAddr}, Dialer: m.dial}
}

// Client returns a client of the test's own, which is closed with the test.
func (m *Mini) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{Addr: miniAddr, Dialer: m.dial, Protocol: 2, DisableIdentity: true})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func (m *Mini) dial(context.Context, string, string) (net.Conn, error) {
	c, err := m.Dial()
	if err != nil {
		return nil, err
	}
	b := &buffered{Conn: c}
	b.ready.L = &b.mu
	b.pump.Go(b.forward)
	return b, nil
}

// buffered gives a net.Pipe the buffer that a socket has. Without one, a pipeline of more than 4 KiB hangs: miniredis
// waits for its first answers to be read, and the client for the rest of its commands to be.
type buffered struct {
	net.Conn
	pump sync.WaitGroup

	mu     sync.Mutex
	ready  sync.Cond
	buf    []byte
	closed bool
}

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, net.ErrClosed
	}
	b.buf = append(b.buf, p...)
	b.ready.Signal()
	return len(p), nil
}

func (b *buffered) forward() {
	for {
		b.mu.Lock()
		for len(b.buf) == 0 && !b.closed {
			b.ready.Wait()
		}
		buf, closed := b.buf, b.closed
		b.buf = nil
		b.mu.Unlock()
		if closed {
			return
		}
		if _, err := b.Conn.Write(buf); err != nil {
			_ = b.Conn.Close() // which its reader hears of
			return
		}
	}
}

func (b *buffered) Close() error {
	b.mu.Lock()
	b.closed = true
	b.ready.Signal()
	b.mu.Unlock()
	err := b.Conn.Close()
	b.pump.Wait()
	return err
}
