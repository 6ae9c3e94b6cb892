package client

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	answersTime  = time.Second // that a client that moves waits for the answers to what it wrote
	lastWordTime = time.Second // for the server's close frame to be read after writing failed
)

// moveTo is where to connect next, if the server said so.
type moveTo struct {
	url     *url.URL // nil: as before
	planned bool     // this client left by itself, and connects again at once
}

// serve keeps a link until it ends, and says why it did. All that the link's goroutines did is done when it returns.
func (c *Client) serve(life context.Context, l *link) (moveTo, error) {
	var (
		moved moveTo
		leave <-chan time.Time
	)
	sweep := time.NewTicker(c.opts.AnswerTime / 2)
	defer sweep.Stop()
	for {
		select {
		case <-l.broken:
			c.part(l, l.err)
			return moved, l.err
		case <-l.stuck:
			err := c.lastWord(l)
			c.part(l, err)
			return moved, err
		case <-life.Done():
			c.shut(ErrClosed)
			c.goodbye(l)
			return moved, ErrClosed
		case m := <-l.moving:
			moved.url = c.destination(m.URL)
			leave = time.After(leaveIn(m))
		case <-leave:
			moved.planned = true
			c.move(life, l)
			return moved, nil
		case <-sweep.C:
			c.settleOld()
			c.watchUnsure()
		}
	}
}

// leaveIn draws when to leave a node that is going to close its connections within a time, and spreads them over it:
// in the first half, so that most clients leave by themselves, with nothing under way.
func leaveIn(m contracts.Moving) time.Duration {
	within := min(max(m.WithinMS, 0), time.Hour.Milliseconds())
	return rand.N(time.Duration(within)*time.Millisecond/2 + 1)
}

// part ends a link whose connection broke. What was under way has its result before the link's goroutines are waited
// for: the reader may wait for a handler that waits for an answer.
func (c *Client) part(l *link, err error) {
	c.shut(fmt.Errorf("%w: %w", ErrDisconnected, err))
	close(l.left)
	_ = l.conn.Close()
	l.work.Wait()
}

// lastWord waits for what the server had to say, after writing to it failed: most often it is a close code.
func (c *Client) lastWord(l *link) error {
	patience := time.NewTimer(lastWordTime)
	defer patience.Stop()
	select {
	case <-l.broken:
		return l.err
	case <-patience.C:
		return errStuck
	}
}

// move leaves a node that asked for it. Requests that come meanwhile wait for the next connection; those that were written
// get some time for their answers.
func (c *Client) move(life context.Context, l *link) {
	c.mu.Lock()
	c.link = nil
	select {
	case <-c.drained:
	default:
	}
	waiting := c.written > 0
	c.mu.Unlock()
	if waiting {
		patience := time.NewTimer(answersTime)
		defer patience.Stop()
		select {
		case <-c.drained:
		case <-patience.C:
		case <-l.broken:
		case <-life.Done():
		}
	}
	c.settle(ErrDisconnected, func(p *call) bool { return p.frame == nil })
	c.goodbye(l)
}

// goodbye closes a link in order: it says so, and reads on until the server has said so too, or not in time.
func (c *Client) goodbye(l *link) {
	close(l.left)
	by := time.Now().Add(c.opts.CloseTime)
	if l.conn.bye(c.opts.CloseTime) == nil {
		patience := time.NewTimer(time.Until(by))
		defer patience.Stop()
		select {
		case <-l.broken:
		case <-patience.C:
		}
	}
	_ = l.conn.Close()
	l.work.Wait()
}

// encrypted tells whether a connection to u is.
func encrypted(u *url.URL) bool { return u.Scheme == "wss" || u.Scheme == "tls" }

// destination checks where the server wants this client to go. It may be anywhere, but not less safe than where the
// application wanted to connect, for that is where the token goes.
func (c *Client) destination(raw string) *url.URL {
	if raw == "" {
		return nil
	}
	u, err := parseURL(raw)
	if err != nil || c.secure && !encrypted(u) {
		c.opts.Logger.Warn("the server named a place that this client does not go to", slog.String("url", raw))
		return nil
	}
	return u
}
