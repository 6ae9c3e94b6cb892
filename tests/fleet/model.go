package fleet

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/presence/presencetest"
)

// NewPipes returns a listener whose connections are pipes, and how to connect to it: for a test that wires a node by hand.
func NewPipes() (net.Listener, func(ctx context.Context, network, addr string) (net.Conn, error)) {
	p := newPipes()
	return p, p.dial
}

// Plug stands between a node in a bubble and its servers. Pulled, it is what a crash looks like from outside: the node
// says no more to anybody, and can still be stopped. The zero Plug is to be put in with [Plug.Into].
type Plug struct {
	redis presencetest.Gate
	nats  interface{ InProcessConn() (net.Conn, error) }

	mu     sync.Mutex
	pulled bool
	conns  []net.Conn
}

// Into puts the plug between a node that is configured so and its servers.
func (p *Plug) Into(nats *broker.Config, redis *presence.Redis) {
	p.nats, nats.InProcess = nats.InProcess, p
	p.redis.Base, redis.Dialer = redis.Dialer, p.redis.Dial
}

var errPulled = errors.New("the plug is pulled")

// InProcessConn connects to NATS.
func (p *Plug) InProcessConn() (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pulled {
		return nil, errPulled
	}
	c, err := p.nats.InProcessConn()
	if err == nil {
		p.conns = append(p.conns, c)
	}
	return c, err
}

// Pull breaks all connections, for good.
func (p *Plug) Pull() {
	p.redis.Cut()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pulled = true
	for _, c := range p.conns {
		_ = c.Close()
	}
}
