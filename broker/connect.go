package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/beeline-rt/beeline/contracts"
)

// ErrConnect is wrapped by the errors of [Connect].
var ErrConnect = errors.New("cannot connect to NATS")

// Conn is a connection to NATS that fails in the open: what cannot be sent now is an error, not a buffer; it reconnects
// for ever; and it notices a dead link in about three seconds. It is safe for concurrent use.
type Conn struct {
	nc      *nats.Conn
	log     *slog.Logger
	changed chan struct{} // holds one

	slow       atomic.Uint64 // episodes in which a subscription could not keep up
	reconnects atomic.Uint64
}

const (
	dialTimeout  = 2 * time.Second
	pingInterval = time.Second // with maxPings, a link that is dead but not closed is noticed in 2 to 3 s; nats.go's default takes 4 to 6 minutes
	maxPings     = 2
	flushTimeout = 2 * time.Second // for one write to the server; nats.go's default is a minute, in which all publishers wait
	reconnectMin = 50 * time.Millisecond
	reconnectVar = 150 * time.Millisecond
)

// Connect connects to one of the servers. The first connection must succeed, so that what is wrong with the address is
// seen at once; ctx bounds it. The error wraps [ErrConnect].
func Connect(ctx context.Context, cfg Config) (*Conn, error) {
	c := &Conn{log: cfg.Logger, changed: make(chan struct{}, 1)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	timeout := dialTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	nc, err := nats.Connect(strings.Join(cfg.URLs, ","), c.options(cfg, timeout)...)
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w (is it running, and is the address right?)", ErrConnect, redacted(cfg.URLs), err)
	}
	if most := nc.MaxPayload(); most < contracts.MaxBundle {
		nc.Close()
		return nil, fmt.Errorf("%w at %s: its max_payload is %d bytes, node messages need %d", ErrConnect, redacted(cfg.URLs), most, contracts.MaxBundle)
	}
	c.nc = nc
	return c, nil
}

// redacted lists addresses without the passwords that may be in them.
func redacted(urls []string) string {
	shown := make([]string, len(urls))
	for i, s := range urls {
		shown[i] = "an address that is no URL"
		if u, err := url.Parse(s); err == nil {
			shown[i] = u.Redacted()
		}
	}
	return strings.Join(shown, ", ")
}

func (c *Conn) options(cfg Config, timeout time.Duration) []nats.Option {
	opts := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(timeout),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // no buffer: nats.go would deliver it late, or drop it in silence
		nats.ReconnectWait(reconnectMin),
		nats.ReconnectJitter(reconnectVar, reconnectVar),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.FlusherTimeout(flushTimeout),
		nats.ReconnectOnFlusherError(),
		nats.SkipSubjectValidation(), // contracts builds all subjects
		nats.ErrorHandler(c.failed),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.change()
			if err != nil {
				c.log.Warn("nats connection lost", slog.Any("error", err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.reconnects.Add(1)
			c.change()
			c.log.Info("nats connected again", slog.String("server", nc.ConnectedServerName()))
		}),
		nats.LameDuckModeHandler(func(nc *nats.Conn) {
			// The server is about to stop: go now, while another one can be chosen at leisure.
			c.log.Info("nats server is stopping, moving to another", slog.String("server", nc.ConnectedServerName()))
			if len(nc.Servers()) > 1 {
				_ = nc.ForceReconnect()
			}
		}),
	}
	if cfg.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(cfg.CredsFile))
	}
	if cfg.TLS != nil {
		opts = append(opts, nats.Secure(cfg.TLS))
	}
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	}
	return opts
}

// failed hears of errors that belong to no call.
func (c *Conn) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) && sub != nil {
		dropped, _ := sub.Dropped()
		c.slow.Add(1)
		c.log.Error("this node cannot keep up, messages were dropped", slog.String("subject", sub.Subject), slog.Int("dropped", dropped))
		return
	}
	c.log.Error("nats error", slog.Any("error", err))
}

// Connected tells whether the connection is up now.
func (c *Conn) Connected() bool { return c.nc.IsConnected() }

// Changed tells one reader that the connection was lost or made again since it last looked.
func (c *Conn) Changed() <-chan struct{} { return c.changed }

func (c *Conn) change() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Reconnects counts how often the connection was lost and made again.
func (c *Conn) Reconnects() uint64 { return c.reconnects.Load() }

// Slow counts how often a subscription could not keep up, so that messages were dropped.
func (c *Conn) Slow() uint64 { return c.slow.Load() }

// settle waits until the server knows what was subscribed, for dialTimeout at most.
func (c *Conn) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return c.nc.FlushWithContext(ctx)
}

// part waits until the server knows what is not subscribed any more. Without a connection nothing comes by it anyway.
func (c *Conn) part(ctx context.Context) {
	if c.Connected() {
		_ = c.settle(ctx)
	}
}

// Close ends the connection at once. What was published before is flushed if the server takes it within a second.
func (c *Conn) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if c.nc.IsConnected() {
		_ = c.nc.FlushWithContext(ctx)
	}
	c.nc.Close()
}

// Drain works off what has come for the subscriptions, sends what was published meanwhile, and closes the connection; at the latest when
// ctx ends.
func (c *Conn) Drain(ctx context.Context) {
	closed := c.nc.StatusChanged(nats.CLOSED)
	if c.nc.Drain() == nil {
		select {
		case <-closed:
		case <-ctx.Done():
		}
	}
	c.nc.Close()
}
