package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/beeline-rt/beeline/contracts"
)

// ErrNobody is returned by [Conn.Ask] when nobody listens there, which NATS says at once.
var ErrNobody = errors.New("nobody listens there")

// asks is how often a question is put, at most.
const asks = 3

// Ask puts a question to one of those who listen to a subject, and to another one while there is no answer; the first
// answer counts. So a question must be one that may be put twice. again is after how long without an answer that is done.
// ctx bounds it all. The error is [ErrNobody], or says that
// there was no answer in time. It is safe for concurrent use.
func (c *Conn) Ask(ctx context.Context, to contracts.Subject, question []byte, again time.Duration) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends those that have no answer
	type result struct {
		answer []byte
		err    error
	}
	results := make(chan result, asks)
	put := func() {
		go func() {
			m, err := c.nc.RequestWithContext(ctx, string(to), question)
			if err != nil {
				results <- result{err: err}
				return
			}
			results <- result{answer: m.Data}
		}()
	}
	put()
	tick := time.NewTicker(again)
	defer tick.Stop()
	for tries, open := 1, 1; ; {
		select {
		case <-tick.C:
			if tries < asks {
				tries++
				open++
				put()
			}
		case r := <-results:
			open--
			switch {
			case r.err == nil:
				return r.answer, nil
			case errors.Is(r.err, nats.ErrNoResponders):
				return nil, fmt.Errorf("ask %s: %w", to, ErrNobody)
			case open == 0:
				return nil, fmt.Errorf("ask %s: %w", to, r.err)
			}
		}
	}
}

// Responder answers questions that are put to a subject, see [Conn.Ask]. It is safe for concurrent use.
type Responder struct{ sub *nats.Subscription }

// pendingQuestions is how many questions may wait; more are lost, and put again.
const pendingQuestions = 1 << 10

// Respond has questions answered that are put to a subject. All who respond to it share them. answer is called from one
// goroutine and must not block; the function that it is given takes the answer, at most once, from any goroutine. What
// cannot be sent is lost: whoever asked does so again.
func (c *Conn) Respond(to contracts.Subject, answer func(question []byte, reply func([]byte))) (*Responder, error) {
	sub, err := c.nc.QueueSubscribe(string(to), "responders", func(m *nats.Msg) {
		if m.Reply != "" {
			answer(m.Data, func(b []byte) { _ = c.nc.Publish(m.Reply, b) })
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(pendingQuestions, pendingBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("subscribe %s: %w", to, err)
	}
	return &Responder{sub}, nil
}

// Close stops listening.
func (r *Responder) Close() { _ = r.sub.Unsubscribe() }
