package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Presence is what [Options.OnPresence] is told of a client.
type Presence struct {
	Client contracts.ClientID
	Online bool // it has a session, anywhere
}

// Watch makes [Options.OnPresence] be told of some clients: at first what each of them is, then every change, until
// [Client.Unwatch]. It returns those who are online, sorted. It watches them again by itself with every new connection,
// before it is [Online], and OnPresence is told what has changed in between.
//
// The error is a [contracts.Error] when the server says why not: with [contracts.CodeUnavailable], try again. After an
// error, some of many clients, those that are returned and others, may be watched; Watch may be called again. It must not
// be called from the callback of [Client.SendAsync].
func (c *Client) Watch(ctx context.Context, clients ...contracts.ClientID) (online []contracts.ClientID, err error) {
	for _, some := range c.watchRequests(clients) {
		r, err := c.do(ctx, &contracts.Request{Op: contracts.OpWatch, Clients: some})
		if err != nil {
			return online, causeOf(err)
		}
		online = append(online, *r.online...)
	}
	slices.Sort(online)
	return online, nil
}

// Unwatch ends what [Client.Watch] began; OnPresence is told no more than what waits for it. Whatever it returns, the client
// does not watch them again by itself; without a connection that is all there is to do. It must not be called from the
// callback of [Client.SendAsync].
func (c *Client) Unwatch(ctx context.Context, clients ...contracts.ClientID) error {
	requests := c.watchRequests(clients)
	for _, some := range requests {
		if err := check(&contracts.Request{Op: contracts.OpUnwatch, Clients: some}); err != nil {
			return err
		}
	}
	c.mu.Lock()
	unwanted := func(id contracts.ClientID) bool { return slices.Contains(clients, id) }
	for _, id := range clients {
		delete(c.watched, id)
		delete(c.unsure, id)
	}
	for _, p := range c.pending { // a watch that is answered after this
		p.watches = slices.DeleteFunc(p.watches, unwanted)
	}
	taking := c.taking
	c.mu.Unlock()
	if !taking {
		return nil
	}
	for _, some := range requests {
		_, err := c.do(ctx, &contracts.Request{Op: contracts.OpUnwatch, Clients: some})
		if err = causeOf(err); errors.Is(err, ErrDisconnected) || errors.Is(err, ErrClosed) {
			return nil // the session has ended, and its watches have
		} else if err != nil {
			return err
		}
	}
	return nil
}

// watchRequests cuts a list of clients into those of single requests.
func (c *Client) watchRequests(clients []contracts.ClientID) [][]contracts.ClientID {
	clients = slices.Compact(slices.Sorted(slices.Values(clients)))
	var requests [][]contracts.ClientID
	from, size := 0, overhead
	for i, id := range clients {
		size += len(id) + len(`"",`)
		if i-from == contracts.MaxWatch || i > from && size > c.opts.MaxFrame {
			requests = append(requests, clients[from:i])
			from, size = i, overhead+len(id)+len(`"",`)
		}
	}
	if len(clients) > 0 {
		requests = append(requests, clients[from:])
	}
	return requests
}

// watching takes in the answer to a watch, and returns what is news. c.mu is held.
func (c *Client) watching(clients, online []contracts.ClientID) []Presence {
	var news []Presence
	for _, id := range clients {
		p := Presence{Client: id, Online: slices.Contains(online, id)}
		delete(c.unsure, id)
		if was, known := c.watched[id]; !known || was != p.Online {
			c.watched[id] = p.Online
			news = append(news, p)
		}
	}
	return news
}

// changed takes in a change of a client, and tells whether it is news.
func (c *Client) changed(p Presence) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, known := c.watched[p.Client]
	if !known || was == p.Online {
		return false
	}
	c.watched[p.Client] = p.Online
	return true
}

// rewatch watches the clients that are to be watched, on a link that has no writer yet. What the server refuses is noted in
// the link; an error means that the link is of no use.
func (c *Client) rewatch(ctx context.Context, l *link) error {
	c.mu.Lock()
	clients := slices.Collect(maps.Keys(c.watched))
	clear(c.unsure)
	c.mu.Unlock()
	for _, some := range c.watchRequests(clients) {
		answered := make(chan error, 1)
		c.mu.Lock()
		c.lastID++
		p := &call{
			id: c.lastID, since: time.Now(), done: func(_ Result, err error) { answered <- err }, watches: c.wanted(some),
		}
		c.pending[p.id] = p
		c.written++
		c.mu.Unlock()
		frame := contracts.AppendWatch(nil, p.id, contracts.OpWatch, some)
		if l.conn.write(frame[:len(frame)-1], c.opts.WriteTime) != nil {
			return c.lastWord(l)
		}
		select {
		case err := <-answered:
			if err == nil {
				l.watched = append(l.watched, some...)
			} else {
				c.notWatched(some, err)
				l.refused = errors.Join(l.refused, fmt.Errorf("watch %s again: %w", several(some), err))
			}
		case <-l.broken:
			return l.err
		case <-ctx.Done():
			return errNotWatching
		}
	}
	return nil
}

// wanted returns a list of those of some clients that are to be watched. c.mu is held.
func (c *Client) wanted(some []contracts.ClientID) []contracts.ClientID {
	return slices.DeleteFunc(slices.Clone(some), func(id contracts.ClientID) bool { _, ok := c.watched[id]; return !ok })
}

// several names some clients for a person.
func several(clients []contracts.ClientID) string {
	if len(clients) == 1 {
		return string(clients[0])
	}
	return fmt.Sprintf("%s and %d more", clients[0], len(clients)-1)
}

// notWatched notes that clients could not be watched again. What the server may allow another time is tried again soon.
func (c *Client) notWatched(clients []contracts.ClientID, err error) {
	var answer *contracts.Error
	never := errors.As(err, &answer) && (answer.Code == contracts.CodeForbidden || answer.Code == contracts.CodeBadRequest)
	c.mu.Lock()
	for _, id := range c.wanted(clients) {
		if never {
			delete(c.watched, id)
			delete(c.unsure, id)
		} else {
			c.unsure[id] = struct{}{}
		}
	}
	c.mu.Unlock()
	c.opts.Logger.Warn("does not watch again", slog.String("clients", several(clients)), slog.Any("error", err))
}

// watchUnsure watches those again that the server could not take up when the connection was made.
func (c *Client) watchUnsure() {
	c.mu.Lock()
	clients := slices.Collect(maps.Keys(c.unsure))
	c.mu.Unlock()
	for _, some := range c.watchRequests(clients) {
		_, _ = c.enqueue(&contracts.Request{Op: contracts.OpWatch, Clients: some}, func(_ Result, err error) {
			if err != nil {
				c.notWatched(some, err)
			}
		})
	}
}

// unwatchUnwanted is to watches what leaveUnwanted is to groups. c.mu is held.
func (c *Client) unwatchUnwanted(l *link) {
	unwanted := slices.DeleteFunc(l.watched, func(id contracts.ClientID) bool { _, ok := c.watched[id]; return ok })
	var calls []*call
	for _, some := range c.watchRequests(unwanted) {
		c.lastID++
		p := &call{id: c.lastID, since: time.Now(), done: func(Result, error) {}}
		p.frame = contracts.AppendWatch(nil, p.id, contracts.OpUnwatch, some)
		c.pending[p.id] = p
		c.queued += len(p.frame)
		calls = append(calls, p)
	}
	c.queue = slices.Insert(c.queue, 0, calls...)
}
