package brokertest

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Link is a TCP proxy between a client and a server that a test can break: cut (connections are reset and refused),
// frozen (connections stay, nothing passes), slow (everything passes later). It counts what passes, so that a test can show
// that its fault happened. It is safe for concurrent use.
type Link struct {
	target string
	ln     net.Listener
	passed atomic.Int64 // bytes, both ways
	broken atomic.Int64 // connections cut or refused

	mu     sync.Mutex // guards the following
	cond   *sync.Cond
	conns  map[net.Conn]bool
	cut    bool
	frozen bool
	delay  time.Duration
	closed bool

	work sync.WaitGroup
}

// NewLink starts a link to a host:port, or to an URL with one; it ends with the test.
func NewLink(tb testing.TB, target string) *Link {
	tb.Helper()
	if _, rest, ok := strings.Cut(target, "://"); ok {
		target = rest
	}
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	l := &Link{target: target, ln: ln, conns: map[net.Conn]bool{}}
	l.cond = sync.NewCond(&l.mu)
	l.work.Go(func() { l.accept(context.WithoutCancel(tb.Context())) })
	tb.Cleanup(l.close)
	return l
}

// Addr is the host:port to connect to in place of the target.
func (l *Link) Addr() string { return l.ln.Addr().String() }

// Passed is how many bytes passed, both ways.
func (l *Link) Passed() int64 { return l.passed.Load() }

// Broken is how many connections were cut or refused.
func (l *Link) Broken() int64 { return l.broken.Load() }

// Cut resets all connections and refuses new ones until [Link.Restore].
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for c := range l.conns {
		l.broken.Add(1)
		reset(c)
	}
	l.cond.Broadcast()
}

// Freeze lets nothing pass until [Link.Restore], and closes nothing: what a hung server or a lost route looks like.
func (l *Link) Freeze() { l.set(func() { l.frozen = true }) }

// Delay lets everything pass that much later, each way; 0 ends it.
func (l *Link) Delay(d time.Duration) { l.set(func() { l.delay = d }) }

// Restore ends cut and freeze.
func (l *Link) Restore() { l.set(func() { l.cut, l.frozen = false, false }) }

func (l *Link) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	l.cond.Broadcast()
}

func (l *Link) close() {
	l.set(func() { l.closed = true })
	_ = l.ln.Close()
	l.Cut()
	l.work.Wait()
}

func (l *Link) accept(ctx context.Context) {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		if !l.add(c) {
			l.broken.Add(1)
			reset(c)
			continue
		}
		l.work.Go(func() { l.serve(ctx, c) })
	}
}

func (l *Link) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.closed {
		return false
	}
	l.conns[c] = true
	return true
}

func (l *Link) serve(ctx context.Context, client net.Conn) {
	defer l.drop(client)
	server, err := new(net.Dialer).DialContext(ctx, "tcp", l.target)
	if err != nil {
		return
	}
	defer l.drop(server)
	if !l.add(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.pass(server, client) })
	both.Go(func() { l.pass(client, server) })
	both.Wait()
}

func (l *Link) drop(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// pass copies one way. A delay holds each piece back by itself, without holding up the next read.
func (l *Link) pass(dst, src net.Conn) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 1024)
	var out sync.WaitGroup
	out.Go(func() {
		for p := range pieces {
			if wait := time.Until(p.due); wait > 0 {
				<-time.After(wait)
			}
			if !l.open() {
				continue
			}
			n, err := dst.Write(p.data)
			l.passed.Add(int64(n))
			if err != nil {
				reset(src)
			}
		}
		if c, ok := dst.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			l.mu.Lock()
			delay := l.delay
			l.mu.Unlock()
			pieces <- piece{time.Now().Add(delay), append([]byte(nil), buf[:n]...)}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				reset(dst)
			}
			break
		}
	}
	close(pieces)
	out.Wait()
}

// open waits while the link is frozen, and tells whether it still carries anything.
func (l *Link) open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.frozen && !l.cut && !l.closed {
		l.cond.Wait()
	}
	return !l.cut && !l.closed
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
