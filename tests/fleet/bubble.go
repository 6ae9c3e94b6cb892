package fleet

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/embedded"
	"github.com/beeline-rt/beeline/services/presence/presencetest"
)

// Bubble starts n nodes in fake time; call it inside testing/synctest. Nothing in it is a socket: a goroutine in network I/O
// would stop the clock.
func Bubble(tb testing.TB, n int, options ...Option) *Fleet {
	tb.Helper()
	nats, err := embedded.Start(embedded.Options{DontListen: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nats.Shutdown)
	redis := presencetest.StartMini(tb)
	presencetest.Settle(tb, redis.Config(), "a")
	presencetest.Settle(tb, redis.Config(), "b")
	f := &Fleet{t: tb, NATS: nats, cluster: "a", open: func(f *Fleet, i int) *Node { return inBubble(f, nats, redis, i) }}
	for _, o := range options {
		o(f)
	}
	for i := range n {
		f.Start(i)
	}
	return f
}

func inBubble(f *Fleet, nats *embedded.Server, redis *presencetest.Mini, i int) *Node {
	pipes := newPipes()
	n := &Node{config: f.config(i), dial: pipes.dial}
	n.ID = n.config.Node
	n.config.Listener = pipes
	n.config.NATS = broker.Config{InProcess: nats}
	n.config.Redis = redis.Config()
	return n
}

// pipes is a net.Listener whose connections are pipes.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

var errPipesClosed = errors.New("connection refused")

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- named{server}:
		return client, nil
	case <-p.done:
		return nil, errPipesClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept returns the server's end of the next pipe.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close refuses further pipes.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr is any address: dial does not look at it.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// named is a pipe whose peer has an address.
type named struct{ net.Conn }

func (named) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }
