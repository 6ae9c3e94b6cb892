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
// too much memory, the oldest are forgotten, which is counted.
type answers struct {
	metrics *metrics

	mu    sync.Mutex // guards the following
	m     map[[sha256.Size]byte]*kept
	order *list.List // of *kept, the oldest first
	size  int
}

// kept is the answer to one request, or the request while it is under way.
type kept struct {
	name, body [sha256.Size]byte
	at         time.Time
	place      *list.Element
	cost       int           // in bytes; guarded by answers.mu
	ended      chan struct{} // closed when reply is set
	reply      reply
}

func newAnswers(m *metrics) *answers {
	return &answers{metrics: m, m: map[[sha256.Size]byte]*kept{}, order: list.New()}
}

// once carries out a request, unless there is one of that name already: then its answer is returned, after its end. same is
// false, and nothing was done, if that one asked for something else. ctx bounds the wait; when it is over, ok is false.
func (a *answers) once(ctx context.Context, name, op string, body []byte, do func() reply) (r reply, same, ok bool) {
	mine := &kept{name: sha256.Sum256([]byte(name)), at: time.Now(), ended: make(chan struct{})}
	h := sha256.New()
	_, _ = h.Write([]byte(op + "\n"))
	_, _ = h.Write(body)
	h.Sum(mine.body[:0])
	a.mu.Lock()
	a.expire(mine.at)
	if earlier := a.m[mine.name]; earlier != nil {
		a.mu.Unlock()
		return a.again(ctx, earlier, mine)
	}
	a.add(mine)
	a.mu.Unlock()
	defer func() { // also when do panics
		a.mu.Lock()
		defer a.mu.Unlock()
		if mine.reply = r; r.keep {
			mine.cost += len(r.body)
			a.size += len(r.body)
			a.shrink()
		} else {
			a.remove(mine)
		}
		close(mine.ended)
	}()
	return do(), true, true
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

func (a *answers) add(k *kept) {
	k.cost, k.place = answerCost, a.order.PushBack(k)
	a.m[k.name] = k
	a.size += answerCost
	a.shrink()
}

// remove forgets an answer. mu is held.
func (a *answers) remove(k *kept) {
	if a.m[k.name] != k { // forgotten already
		return
	}
	delete(a.m, k.name)
	a.order.Remove(k.place)
	a.size -= k.cost
}

// expire forgets what is too old. mu is held.
func (a *answers) expire(now time.Time) {
	for e := a.order.Front(); e != nil && now.Sub(e.Value.(*kept).at) >= answersLife; e = a.order.Front() {
		a.remove(e.Value.(*kept))
	}
}

// shrink forgets the oldest until the rest fits. mu is held.
func (a *answers) shrink() {
	for e := a.order.Front(); e != nil && a.size > answersSize; e = a.order.Front() {
		a.remove(e.Value.(*kept))
		a.metrics.forgotten.Inc()
	}
}
