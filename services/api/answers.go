package api

import (
	"container/list"
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// IdempotencyHeader names a request, so that sending it again does nothing again.
const IdempotencyHeader = "Idempotency-Key"

const (
	answersLife = 10 * time.Minute
	answersSize = 16 << 20 // bytes, for each API key: 50,000 sends
	answerCost  = 320      // bytes that an answer takes besides its text
	maxIdemKey  = 255      // bytes
)

// reply is an answer as it is written.
type reply struct {
	status int
	body   []byte
	wait   time.Duration // when asking again may help, for those statuses
	keep   bool          // something was done, or may have been: to ask again must not do it again
}

// answers are those that one API key got to requests with an Idempotency-Key, for ten minutes, on this node. When they take
// too much memory, the oldest are forgotten, which is counted. What is under way never is: else it could be done twice.
type answers struct {
	metrics *metrics

	mu    sync.Mutex // guards the following
	m     map[[sha256.Size]byte]*kept
	order *list.List // of *kept that have ended, the oldest first
	size  int        // in bytes, of those
}

// kept is the answer to one request, or the request while it is under way.
type kept struct {
	name, body [sha256.Size]byte
	ended      chan struct{} // closed when the following is set
	at         time.Time
	reply      reply
}

func newAnswers(m *metrics) *answers {
	return &answers{metrics: m, m: map[[sha256.Size]byte]*kept{}, order: list.New()}
}

// once carries out a request, unless there is one of that name already: then its answer is returned, after its end. same is
// false, and nothing was done, if that one asked for something else. ctx bounds the wait; when it is over, ok is false.
func (a *answers) once(ctx context.Context, name, op string, body []byte, do func() reply) (r reply, same, ok bool) {
	mine := &kept{name: sha256.Sum256([]byte(name)), ended: make(chan struct{})}
	h := sha256.New()
	_, _ = h.Write([]byte(op + "\n"))
	_, _ = h.Write(body)
	h.Sum(mine.body[:0])
	a.mu.Lock()
	a.expire(time.Now())
	if earlier := a.m[mine.name]; earlier != nil {
		a.mu.Unlock()
		return a.again(ctx, earlier, mine)
	}
	a.m[mine.name] = mine
	a.mu.Unlock()
	defer func() { a.end(mine, r) }() // also when do panics
	return do(), true, true
}

// end keeps the answer to a request, if it is to be kept.
func (a *answers) end(k *kept, r reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k.at, k.reply = time.Now(), r
	close(k.ended)
	if !r.keep {
		delete(a.m, k.name)
		return
	}
	a.order.PushBack(k)
	a.size += k.cost()
	for a.size > answersSize {
		a.forget(a.order.Front())
		a.metrics.forgotten.Inc()
	}
}

// again waits for the answer to an earlier request.
func (a *answers) again(ctx context.Context, earlier, mine *kept) (r reply, same, ok bool) {
	if earlier.body != mine.body {
		return reply{}, false, true
	}
	select {
	case <-earlier.ended:
	case <-ctx.Done():
		return reply{}, true, false
	}
	a.metrics.replays.Inc()
	return earlier.reply, true, earlier.reply.status != 0
}

// cost is what an answer takes, in bytes.
func (k *kept) cost() int { return answerCost + len(k.reply.body) }

// forget forgets an answer. mu is held.
func (a *answers) forget(e *list.Element) {
	k := a.order.Remove(e).(*kept)
	delete(a.m, k.name)
	a.size -= k.cost()
}

// expire forgets what is too old. mu is held.
func (a *answers) expire(now time.Time) {
	for e := a.order.Front(); e != nil && now.Sub(e.Value.(*kept).at) >= answersLife; e = a.order.Front() {
		a.forget(e)
	}
}
