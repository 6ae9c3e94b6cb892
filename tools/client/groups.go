package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Join makes the client a member of a group. When it returns nil, every message that anybody publishes to the group from
// now on reaches this client. It joins the group again by itself with every new connection, before it is [Online], until
// [Client.Leave]; what is published in between does not reach it.
//
// The error is a [contracts.Error] when the server says why not. After any other error it may be a member for as long as
// this connection lasts; Join may be called again. It must not be called from the callback of [Client.SendAsync].
func (c *Client) Join(ctx context.Context, group contracts.GroupName) error {
	_, err := c.do(ctx, &contracts.Request{Op: contracts.OpJoin, Group: group})
	return causeOf(err)
}

// Leave ends what [Client.Join] began; it does nothing if the client is not a member. Whatever it returns, the client does
// not join the group again by itself; without a connection that is all there is to do. After an error, messages to
// the group may come for as long as this connection lasts. It must not be called from the callback of [Client.SendAsync].
func (c *Client) Leave(ctx context.Context, group contracts.GroupName) error {
	c.mu.Lock()
	delete(c.groups, group)
	for _, p := range c.pending { // a join that is answered after this
		if p.joins == group {
			p.joins = ""
		}
	}
	taking := c.taking
	c.mu.Unlock()
	if !taking {
		_, err := contracts.ParseGroupName(group)
		return err
	}
	_, err := c.do(ctx, &contracts.Request{Op: contracts.OpLeave, Group: group})
	if err = causeOf(err); errors.Is(err, ErrDisconnected) || errors.Is(err, ErrClosed) {
		return nil // the session has ended, and has left its groups so
	}
	return err
}

// causeOf is err without what it says of a message.
func causeOf(err error) error {
	if sendErr, ok := errors.AsType[*SendError](err); ok {
		return sendErr.Err
	}
	return err
}

// Publish sends a message to all members of a group, and waits until it is on its way; who publishes need not be a member,
// and gets the message too if it is. No error means that the nodes that have members took it: how many there are
// is in the Result, and none is no error. What a single member got is not known. Errors are those of [Client.Send], and
// messages from one goroutine to one group arrive in the order of the calls.
//
// It must not be called from the callback of [Client.SendAsync].
func (c *Client) Publish(ctx context.Context, group contracts.GroupName, data json.RawMessage) (Result, error) {
	return c.do(ctx, &contracts.Request{Op: contracts.OpPublish, Group: group, Send: contracts.Send{Data: data}})
}

// PublishAsync is to [Client.Publish] what [Client.SendAsync] is to [Client.Send].
func (c *Client) PublishAsync(group contracts.GroupName, data json.RawMessage, done func(Result, error)) error {
	_, err := c.enqueue(&contracts.Request{Op: contracts.OpPublish, Group: group, Send: contracts.Send{Data: data}}, done)
	return err
}

// rejoinBatch is how many groups are joined at a time after a break: as many as an edge lets a session be in by default,
// and far fewer than the requests that it takes at once.
const rejoinBatch = 100

// rejoin joins the groups that the client is to be in, on a link that has no writer yet. A group that the server refuses
// is noted in the link; an error means that the link is of no use.
func (c *Client) rejoin(ctx context.Context, l *link) error {
	c.mu.Lock()
	groups := slices.Sorted(maps.Keys(c.groups))
	c.mu.Unlock()
	for len(groups) > 0 {
		n, err := c.rejoinSome(ctx, l, groups)
		if err != nil {
			return err
		}
		groups = groups[n:]
	}
	return nil
}

// rejoinSome joins the first of some groups, as many as one frame takes, and returns how many those were.
func (c *Client) rejoinSome(ctx context.Context, l *link, groups []contracts.GroupName) (int, error) {
	type answer struct {
		group contracts.GroupName
		err   error
	}
	groups = groups[:min(len(groups), rejoinBatch)]
	answers := make(chan answer, len(groups))
	var frame []byte
	n := 0
	c.mu.Lock()
	for _, g := range groups {
		longer := contracts.AppendGroup(frame, c.lastID+1, contracts.OpJoin, g)
		if n > 0 && len(longer)-1 > c.opts.MaxFrame {
			break
		}
		frame = longer
		n++
		c.lastID++
		c.pending[c.lastID] = &call{
			id: c.lastID, since: time.Now(), done: func(_ Result, err error) { answers <- answer{g, err} },
		}
		c.written++
	}
	c.mu.Unlock()
	if l.conn.write(frame[:len(frame)-1], c.opts.WriteTime) != nil {
		return 0, c.lastWord(l)
	}
	for range n {
		select {
		case a := <-answers:
			c.rejoined(l, a.group, a.err)
		case <-l.broken:
			return 0, l.err
		case <-ctx.Done():
			return 0, errNotJoined
		}
	}
	return n, nil
}

// rejoined notes how it went to join a group again. What the server may allow another time is tried again with the next
// connection.
func (c *Client) rejoined(l *link, g contracts.GroupName, err error) {
	if err == nil {
		l.joined = append(l.joined, g)
		return
	}
	if answer, ok := errors.AsType[*contracts.Error](err); ok {
		switch answer.Code {
		case contracts.CodeForbidden, contracts.CodeBadRequest:
			c.mu.Lock()
			delete(c.groups, g)
			c.mu.Unlock()
		}
	}
	l.refused = errors.Join(l.refused, fmt.Errorf("join group %s again: %w", g, err))
	c.opts.Logger.Warn("not in a group again", slog.String("group", string(g)), slog.Any("error", err))
}

// leaveUnwanted leaves, before anything else that waits is written, the groups that the client was told to leave while the
// link was joining them. c.mu is held.
func (c *Client) leaveUnwanted(l *link) {
	var calls []*call
	for _, g := range l.joined {
		if _, wanted := c.groups[g]; wanted {
			continue
		}
		c.lastID++
		p := &call{id: c.lastID, since: time.Now(), done: func(Result, error) {}}
		p.frame = contracts.AppendGroup(nil, p.id, contracts.OpLeave, g)
		c.pending[p.id] = p
		c.queued += len(p.frame)
		calls = append(calls, p)
	}
	c.queue = slices.Insert(c.queue, 0, calls...)
}
