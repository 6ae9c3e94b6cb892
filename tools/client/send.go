package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Result is the server's answer to a request that was carried out.
type Result struct {
	Status contracts.Outcome
	Nodes  int // of Publish: how many nodes have members of the group; 0: nobody got it

	online *[]contracts.ClientID // of a watch
	data   *json.RawMessage      // of a call
}

// call is one request on its way to its one result.
type call struct {
	id    uint64
	frame []byte // nil: written, or given up
	since time.Time
	done  func(Result, error)
	joins contracts.GroupName // if set: to be one of Client.groups when the answer is ok

	watches []contracts.ClientID // to be in Client.watched when the answer is ok
}

// Send sends a message and waits for what became of it. The error is a [contracts.Error] when the server says why not, a
// [SendError] when there is no answer, or says what is wrong with the arguments. [MayHaveArrived] tells which errors leave
// the message's fate unknown. Messages from one goroutine to one recipient arrive in the order of the calls.
//
// It must not be called from the callback of [Client.SendAsync].
func (c *Client) Send(ctx context.Context, to contracts.ClientID, data json.RawMessage) (Result, error) {
	return c.do(ctx, &contracts.Request{Op: contracts.OpSend, Send: contracts.Send{To: to, Data: data}})
}

// do makes a request and waits for its result.
func (c *Client) do(ctx context.Context, r *contracts.Request) (Result, error) {
	type answer struct {
		result Result
		err    error
	}
	if err := ctx.Err(); err != nil {
		return Result{}, &SendError{Err: err}
	}
	answered := make(chan answer, 1)
	id, err := c.enqueue(r, func(r Result, err error) { answered <- answer{r, err} })
	if err != nil {
		return Result{}, err
	}
	select {
	case a := <-answered:
		return a.result, a.err
	case <-ctx.Done():
	}
	written, waiting := c.forget(id)
	if !waiting { // its result came meanwhile
		a := <-answered
		return a.result, a.err
	}
	return Result{}, &SendError{Written: written, Err: ctx.Err()}
}

// SendAsync sends a message and returns at once. If it returns nil, done is called exactly once, with what Send would
// return; else never. done is called from the client's own goroutines: it must not block, and may call SendAsync.
func (c *Client) SendAsync(to contracts.ClientID, data json.RawMessage, done func(Result, error)) error {
	_, err := c.enqueue(&contracts.Request{Op: contracts.OpSend, Send: contracts.Send{To: to, Data: data}}, done)
	return err
}

// overhead is more than an object takes besides its recipient or group and its data.
const overhead = 64

// enqueue checks a request and puts it into the queue.
func (c *Client) enqueue(r *contracts.Request, done func(Result, error)) (uint64, error) {
	if err := check(r); err != nil {
		return 0, err
	}
	size := overhead + len(r.Send.To) + len(r.Group) + len(r.Send.Data)
	if r.Call != nil {
		size += len(r.Call.Data)
	}
	p := &call{frame: make([]byte, 0, size), since: time.Now(), done: done}
	if r.Op == contracts.OpJoin {
		p.joins = r.Group
	}
	if r.Op == contracts.OpWatch {
		p.watches = slices.Clone(r.Clients)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.taking {
		return 0, &SendError{Err: c.reason}
	}
	p.id = c.lastID + 1
	p.frame = encode(p.frame, p.id, r)
	switch {
	case len(p.frame)-1 > c.opts.MaxFrame: // the last line break is not written
		return 0, ErrTooLarge
	case len(c.pending) >= c.opts.MaxPending || c.queued+len(p.frame) > c.opts.MaxQueue && c.queued > 0:
		return 0, ErrBusy
	}
	c.lastID = p.id
	c.pending[p.id] = p
	c.queue = append(c.queue, p)
	c.queued += len(p.frame)
	wake(c.wake)
	return p.id, nil
}

// check says what is wrong with a request.
func check(r *contracts.Request) error {
	switch r.Op {
	case contracts.OpSend:
		if _, err := contracts.ParseClientID(r.Send.To); err != nil {
			return fmt.Errorf("recipient: %w", err)
		}
	case contracts.OpCall:
		return checkCall(*r.Call)
	case contracts.OpWatch, contracts.OpUnwatch:
		for _, id := range r.Clients {
			if _, err := contracts.ParseClientID(id); err != nil {
				return fmt.Errorf("client: %w", err)
			}
		}
	default:
		if _, err := contracts.ParseGroupName(r.Group); err != nil {
			return fmt.Errorf("group: %w", err)
		}
	}
	if (r.Op == contracts.OpSend || r.Op == contracts.OpPublish) && !contracts.ValidData(r.Send.Data) {
		return ErrInvalidData
	}
	return nil
}

// encode appends a request that was checked.
func encode(dst []byte, id uint64, r *contracts.Request) []byte {
	switch r.Op {
	case contracts.OpSend:
		return contracts.AppendSend(dst, id, r.Send.To, r.Send.Data)
	case contracts.OpCall:
		return contracts.AppendCall(dst, id, *r.Call)
	case contracts.OpPublish:
		return contracts.AppendPublish(dst, id, r.Group, r.Send.Data)
	case contracts.OpWatch, contracts.OpUnwatch:
		return contracts.AppendWatch(dst, id, r.Op, r.Clients)
	default:
		return contracts.AppendGroup(dst, id, r.Op, r.Group)
	}
}

// wake leaves a token in a channel that holds one.
func wake(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// gather moves as much of the queue as one frame takes to buf, for the writer of l. It adds nothing when l is not the one to
// write to any more.
func (c *Client) gather(l *link, buf []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != l {
		return buf
	}
	taken := 0
	for _, p := range c.queue {
		if len(buf) > 0 && len(buf)+len(p.frame)-1 > c.opts.MaxFrame {
			break
		}
		taken++
		if p.frame == nil { // given up
			continue
		}
		buf = append(buf, p.frame...)
		c.queued -= len(p.frame)
		c.written++
		p.frame = nil
	}
	left := copy(c.queue, c.queue[taken:])
	clear(c.queue[left:])
	c.queue = c.queue[:left]
	return buf
}

// answer gives a request its result, and returns what that says of watched clients. One that is not waiting any more is
// passed over.
func (c *Client) answer(id uint64, r Result, err error) (news []Presence) {
	c.mu.Lock()
	p := c.pending[id]
	if p == nil || p.frame != nil { // given up before; or an answer to what was not asked yet
		c.mu.Unlock()
		return nil
	}
	c.drop(p)
	if p.joins != "" && err == nil {
		c.groups[p.joins] = struct{}{}
	}
	if p.watches == nil {
		r.online = nil
	} else if err == nil {
		news = c.watching(p.watches, *r.online)
	}
	c.mu.Unlock()
	p.done(r, err)
	return news
}

// forget takes a request back, and tells whether it was still waiting and whether it may have been written.
func (c *Client) forget(id uint64) (written, waiting bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pending[id]
	if p == nil {
		return false, false
	}
	return c.drop(p), true
}

// drop takes a request out of pending, and tells whether it may have been written. c.mu is held.
func (c *Client) drop(p *call) (written bool) {
	delete(c.pending, p.id)
	if written = p.frame == nil; !written {
		c.queued -= len(p.frame)
		p.frame = nil // the queue still has it
		return false
	}
	if c.written--; c.written == 0 {
		wake(c.drained)
	}
	return true
}

// settle gives all requests that match their result: a SendError with this cause.
func (c *Client) settle(cause error, match func(*call) bool) {
	c.mu.Lock()
	var matched []*call
	for _, p := range c.pending {
		if match(p) {
			matched = append(matched, p)
		}
	}
	slices.SortFunc(matched, func(a, b *call) int { return cmp.Compare(a.id, b.id) })
	written := make([]bool, len(matched))
	for i, p := range matched {
		written[i] = c.drop(p)
	}
	c.mu.Unlock()
	for i, p := range matched {
		p.done(Result{}, &SendError{Written: written[i], Err: cause})
	}
}

// settleOld ends what has waited too long.
func (c *Client) settleOld() {
	before := time.Now().Add(-c.opts.AnswerTime)
	c.settle(ErrNoAnswer, func(p *call) bool { return p.since.Before(before) })
}
