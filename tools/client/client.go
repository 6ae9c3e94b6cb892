package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Client is one client of a Beeline cluster. It keeps one connection, and makes another when that breaks, until it is
// closed. It is safe for concurrent use.
type Client struct {
	// set once
	opts    Options
	url     *url.URL // nil: the registry is asked
	secure  bool     // the application said wss, tls or https
	backoff Backoff  // as the application said
	cancel  context.CancelFunc
	inbox   chan delivery // to the handlers; closed by run at its end
	wake    chan struct{} // holds one: there is something to write
	drained chan struct{} // holds one: nothing written waits for an answer
	done    chan struct{} // closed when run has ended
	handled chan struct{} // closed when the handlers' goroutine has ended

	// owned by run
	login   credentials
	retries retries
	locate  *locator // nil: there is a url

	mu      sync.Mutex // guards the following
	state   State
	ready   contracts.Ready
	err     error // why the client is Closed
	last    error // why it is not online
	taking  bool  // requests are taken
	reason  error // why not
	link    *link // to write to; nil: none
	lastID  uint64
	groups  map[contracts.GroupName]struct{} // to be in, with every connection
	watched map[contracts.ClientID]bool      // to be told of, with every connection; online, as far as was told
	unsure  map[contracts.ClientID]struct{}  // of these, whom this connection does not watch yet
	pending map[uint64]*call                 // every request without a result
	queue   []*call                          // those that are to be written
	queued  int                              // their bytes
	written int                              // how many of pending are written
}

// Dial connects to an edge, or to a gateway, and returns when it is ready: from then on, every message that anybody sends to
// this client reaches it. The URL is ws:// or wss:// or, for raw TCP, tcp:// or tls:// with a host and a port, and as its query a
// ticket if a gateway is there. ctx bounds that wait and nothing else. Whoever has a Client closes it.
func Dial(ctx context.Context, rawURL string, opts Options) (*Client, error) {
	given := opts.Backoff
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	var u *url.URL
	var locate *locator
	switch {
	case opts.Registry != nil && rawURL != "":
		return nil, errors.New("options: a url and a registry: one of them says where to connect")
	case opts.Registry != nil:
		locate, err = newLocator(opts)
	default:
		u, err = parseURL(rawURL)
	}
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &Client{
		opts: opts, url: u, locate: locate, backoff: given, cancel: cancel,
		inbox: make(chan delivery, opts.Inbox), wake: make(chan struct{}, 1), drained: make(chan struct{}, 1),
		done: make(chan struct{}), handled: make(chan struct{}),
		login: credentials{ask: opts.Token}, retries: retries{Backoff: opts.Backoff},
		reason: ErrDisconnected, groups: map[contracts.GroupName]struct{}{}, pending: map[uint64]*call{},
		watched: map[contracts.ClientID]bool{}, unsure: map[contracts.ClientID]struct{}{},
	}
	c.secure = u != nil && encrypted(u) || locate != nil && locate.urls[0].Scheme == "https"
	started := make(chan error, 1)
	go c.run(life, started)
	go c.handle(life)
	select {
	case err = <-started:
		if err == nil {
			return c, nil
		}
	case <-ctx.Done():
		err = ctx.Err()
		if last := c.whyNot(); last != nil {
			err = fmt.Errorf("%w: %w", err, last)
		}
	}
	_ = c.Close()
	if u == nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return nil, fmt.Errorf("connect to %s: %w", u.Host, err)
}

func (c *Client) whyNot() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Close says good-bye to the server and ends everything. What waits for an answer gets ErrClosed, messages that the handler
// has not got yet are passed over, and no callback runs after Close has returned nil. It may be called more than once, but
// not from a callback, for which it would wait: it gives up on one, with an error, after twice the CloseTime.
func (c *Client) Close() error {
	c.cancel()
	patience := time.NewTimer(2 * c.opts.CloseTime)
	defer patience.Stop()
	for _, ended := range []<-chan struct{}{c.done, c.handled} {
		select {
		case <-ended:
		case <-patience.C:
			return errors.New("close: a callback has not returned")
		}
	}
	return nil
}

// delivery is what one call of a handler gets: a message, or the presence of a client.
type delivery struct {
	message  Message
	presence Presence // if its Client is set
}

// handle calls the handlers, one message or presence after the other.
func (c *Client) handle(life context.Context) {
	defer close(c.handled)
	for d := range c.inbox {
		if life.Err() != nil {
			return
		}
		if d.presence.Client != "" {
			c.opts.OnPresence(d.presence)
		} else {
			c.opts.Handler(d.message)
		}
	}
}

// run keeps the client connected until it is closed or the server has had enough. started is told once whether the first
// connection came to be.
func (c *Client) run(life context.Context, started chan<- error) {
	defer close(c.done)
	defer close(c.inbox)
	var target *url.URL // where the server said to go
	online := false
	for {
		c.connecting()
		l, ready, err := c.reach(life, target)
		target = nil
		if err == nil {
			online = true
			since := time.Now()
			c.online(l, ready, started)
			var moved moveTo
			moved, err = c.serve(life, l)
			c.retries.held(time.Since(since))
			target = moved.url
			if moved.planned && life.Err() == nil {
				continue
			}
		}
		if life.Err() != nil {
			c.stop(nil, started)
			return
		}
		wait, again := c.again(err)
		if !again || !online && !c.opts.KeepTrying {
			c.stop(err, started)
			return
		}
		c.offline(err, wait)
		select {
		case <-life.Done():
		case <-time.After(wait):
		}
	}
}

// connect makes one attempt, which ends with a link that is ready, in the client's groups, and watches whom it
// is to watch. The connection must be taken within a time.
func (c *Client) connect(life context.Context, target string, within time.Duration) (*link, contracts.Ready, error) {
	ctx, cancel := context.WithTimeout(life, c.opts.ConnectTime)
	defer cancel()
	dial, taken := context.WithTimeout(ctx, within)
	defer taken()
	l, err := c.open(dial, life, target)
	if err != nil {
		return nil, contracts.Ready{}, err
	}
	answer := ctx
	if overTCP(target) {
		answer = dial // there was no upgrade that was answered: only now it shows whether it is taken
	}
	select {
	case ready := <-l.ready:
		if err = c.rejoin(ctx, l); err == nil {
			err = c.rewatch(ctx, l)
		}
		if err == nil {
			return l, ready, nil
		}
	case <-l.broken:
		err = l.err
	case <-answer.Done():
		err = errNotReady
	}
	c.shut(fmt.Errorf("%w: %w", ErrDisconnected, err)) // before waiting, as in part
	_ = l.conn.Close()
	l.work.Wait()
	return nil, contracts.Ready{}, err
}

// again tells whether to connect again after err, and when.
func (c *Client) again(err error) (time.Duration, bool) {
	how, floor := verdict(err)
	if how == contracts.RetryNever || how == contracts.RetryToken && !c.login.reject() {
		return 0, false
	}
	return c.retries.next(how, floor), true
}

func (c *Client) connecting() {
	c.mu.Lock()
	c.state = Connecting
	c.mu.Unlock()
	c.tell(StateChange{State: Connecting})
}

// online opens the client for requests and starts the link's writer.
func (c *Client) online(l *link, ready contracts.Ready, started chan<- error) {
	c.login.accepted()
	c.mu.Lock()
	c.state, c.ready, c.last = Online, ready, nil
	c.taking, c.link = true, l
	c.leaveUnwanted(l)
	c.unwatchUnwanted(l)
	c.mu.Unlock()
	l.work.Go(func() { c.write(l) })
	c.opts.Logger.Debug("online", slog.String("node", string(ready.Node)), slog.String("session", string(ready.Session)))
	c.tell(StateChange{State: Online, Ready: ready, Err: l.refused})
	first(started, nil)
}

// offline ends what waits for an answer. It was for this that the connection ended, or could not be made.
func (c *Client) offline(err error, wait time.Duration) {
	c.mu.Lock()
	c.state, c.last = Offline, err
	c.mu.Unlock()
	c.shut(fmt.Errorf("%w: %w", ErrDisconnected, err))
	c.opts.Logger.Info("offline", slog.Any("error", err), slog.Duration("retry_in", wait))
	c.tell(StateChange{State: Offline, Err: err, RetryIn: wait})
}

// stop ends the client for good; err is nil after Close.
func (c *Client) stop(err error, started chan<- error) {
	why := ErrClosed
	if err != nil {
		why = fmt.Errorf("%w: %w", ErrClosed, err)
		c.opts.Logger.Info("closed for good", slog.Any("error", err))
	}
	c.mu.Lock()
	c.state, c.err = Closed, why
	c.mu.Unlock()
	c.shut(why)
	c.tell(StateChange{State: Closed, Err: why})
	if err == nil {
		err = ErrClosed
	}
	first(started, err)
}

// shut takes no more requests, and ends those that have no answer.
func (c *Client) shut(why error) {
	c.mu.Lock()
	c.taking, c.reason, c.link = false, why, nil
	c.mu.Unlock()
	c.settle(why, func(*call) bool { return true })
}
