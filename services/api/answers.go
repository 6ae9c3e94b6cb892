package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/beeline-rt/beeline/contracts"
)

// Answers remembers requests with an Idempotency-Key for all edges of the cluster. What it returns as an error is that nobody
// knows. It is safe for concurrent use, and each call takes a second at most.
type Answers interface {
	// BeginNamed says what is known of a name. If nothing is, the request is noted as under way for as long as life, in the same
	// step.
	BeginNamed(ctx context.Context, r contracts.NamedRequest, life time.Duration) (contracts.NamedAnswer, error)
	// EndNamed keeps the answer to a request that was noted.
	EndNamed(ctx context.Context, r contracts.NamedRequest, status int, body []byte, life time.Duration) error
	// ForgetNamed forgets a request of which nothing was done, if the same try has noted it.
	ForgetNamed(ctx context.Context, r contracts.NamedRequest) error
}

const (
	answersLife  = 10 * time.Minute
	maxIdemKey   = 255                    // bytes
	firstAskTime = 10 * time.Millisecond  // until somebody who waits for the end of a request looks again; doubled each time
	longAskTime  = 200 * time.Millisecond // bound of that
)

// What the names of one API key may take in Redis by one edge: keptBytes at once, and again so much in ten minutes, so about
// twice that at most. Each request with a name pays for a small answer, or for answerCost bytes for each operation, before
// anything is done, also when it is an old one. If its answer is larger it pays the rest in the end, or the answer is not kept.
//
// 50,000 delivered sends took 246 bytes each (growth of used_memory, Redis 7.0.15; MEMORY USAGE says 184), answers of 1,000
// bytes 1,445: some 210 bytes besides the answer, and the blocks that are handed out are up to a quarter larger. A send pays 324.
const (
	keptBytes   = 16 << 20
	entryCost   = 224
	smallAnswer = 80
	answerCost  = 28      // as a recipient's outcome takes
	maxKept     = 2 << 20 // bytes of one answer: Redis does nothing else while it takes it
)

// cost is what an answer of so many bytes takes in Redis, in bytes.
func cost(answer int) int { return entryCost + answer + answer/4 }

// reply is an answer as it is written.
type reply struct {
	status int
	body   []byte
	wait   time.Duration // when asking again may help, for those statuses
	keep   bool          // something was done, or may have been: to ask again must not do it again
}

func newNames() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(keptBytes/answersLife.Seconds()), keptBytes)
}

// once carries out a request of so many operations, unless there is one of that name in the cluster: then its answer is
// returned, after its end. ctx bounds the wait for that.
func (a *API) once(ctx context.Context, c *request, op contracts.BackendOp, body []byte, name string, operations int, do func() reply) reply {
	paid := cost(max(smallAnswer, answerCost*operations))
	if wait := pay(c.names, paid); wait > 0 {
		r := a.render(op, failed(refusal(contracts.CodeRateLimited, "this API key has too many requests with an "+contracts.IdempotencyHeader+" to be remembered")))
		r.wait = wait
		return r
	}
	named := contracts.NamedRequest{Key: c.Name, Name: name, Asked: asked(op, body)}
	_, _ = rand.Read(named.Try[:]) // never fails: crypto/rand ends the process instead
	known, refused := a.begin(ctx, named)
	switch {
	case refused != nil:
		return a.render(op, failed(refused))
	case known.Other:
		r := a.render(op, failed(refusal(contracts.CodeBadRequest, "this "+contracts.IdempotencyHeader+" was used for another request")))
		r.status = http.StatusUnprocessableEntity
		return r
	case !known.Mine:
		a.metrics.replays.Inc()
		return reply{status: known.Status, body: known.Body, keep: true}
	}
	r := reply{status: statuses[contracts.CodeInternal], body: encode(failed(errFault)), keep: true}
	defer func() { a.end(ctx, c, named, r, paid) }() // also when do panics: nobody knows what was done then
	r = do()
	return r
}

// asked is a hash of what a request asks for.
func asked(op contracts.BackendOp, body []byte) (sum [16]byte) {
	h := sha256.New()
	_, _ = h.Write([]byte(op + "\n"))
	_, _ = h.Write(body)
	copy(sum[:], h.Sum(nil))
	return sum
}

// begin returns what is known of a name, when the request is the caller's to carry out or has ended.
func (a *API) begin(ctx context.Context, r contracts.NamedRequest) (contracts.NamedAnswer, *contracts.Error) {
	call := context.WithoutCancel(ctx) // a call is bounded by itself, and not to be broken off in its midst
	waits := false
	for wait := firstAskTime; ; wait = min(2*wait, longAskTime) {
		known, err := a.opts.Answers.BeginNamed(call, r, answersLife)
		if err != nil {
			_ = a.opts.Answers.ForgetNamed(call, r) // it may have been noted all the same. If this fails, too, it is unknown to who asks again
			if waits {
				return known, errUnknownYet
			}
			return known, refusal(contracts.CodeUnavailable, "nobody can say whether this "+contracts.IdempotencyHeader+" was used before, so nothing was done")
		}
		if known.Mine || known.Other || known.Status != 0 {
			return known, nil
		}
		if known.Age >= requestTime { // whoever carried it out is gone, or could not keep the answer
			return known, errUnknownYet
		}
		waits = true
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return known, errUnknownYet
		}
	}
}

var (
	errUnknownYet = refusal(contracts.CodeUnknown, "the request of this "+contracts.IdempotencyHeader+" has no answer yet, or it was lost: perhaps it was done")
	errNotKept    = refusal(contracts.CodeUnknown, "its answer was too large to be kept")
	errFault      = refusal(contracts.CodeInternal, "a fault of the server")
)

// end keeps the answer to a request, if it is to be kept.
func (a *API) end(ctx context.Context, c *request, named contracts.NamedRequest, r reply, paid int) {
	ctx = context.WithoutCancel(ctx)
	var err error
	switch more := cost(len(r.body)) - paid; {
	case !r.keep:
		err = a.opts.Answers.ForgetNamed(ctx, named)
	case len(r.body) > maxKept, more > 0 && !c.names.AllowN(time.Now(), more):
		a.metrics.lost.Inc()
		err = a.opts.Answers.EndNamed(ctx, named, statuses[contracts.CodeUnknown], encode(failed(errNotKept)), answersLife)
	default:
		err = a.opts.Answers.EndNamed(ctx, named, r.status, r.body, answersLife)
	}
	if err != nil { // it stays under way: who asks again is told unknown, and it is not done again
		a.metrics.lost.Inc()
		a.opts.Logger.Warn("api: an answer could not be kept", slog.String("request", c.id), slog.String("key", c.Name), slog.Any("error", err))
	}
}
