package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/beeline-rt/beeline/contracts"
)

// ErrLarge is returned by whoever cannot pass on an answer for its size.
var ErrLarge = errors.New("the answer is too large")

var errLarge = refusal(contracts.CodeInternal, "it was carried out, but the answer is larger than one message may be: ask for less at once")

// Take answers a request that has not come over HTTP, but has the headers, in any spelling, and the body of one that has. It does not wait: send is called with the
// answer, once and on any goroutine, and once more with a smaller one when it returns an error that wraps [ErrLarge]. ctx is for what is done;
// there is a bound of time as over HTTP.
func (a *API) Take(ctx context.Context, op contracts.BackendOp, as map[string][]string, body []byte, send func(status int, h http.Header, body []byte) error) {
	h := http.Header{}
	for name, values := range as { // an idempotency-key that was passed over would let a request be done twice
		name = http.CanonicalHeaderKey(name)
		h[name] = append(h[name], values...)
	}
	id := requestID(h)
	out := func(r reply) error {
		h := http.Header{RequestIDHeader: []string{id}}
		r.sayWhen(h)
		return send(r.status, h, r.body)
	}
	answer := func(r reply) {
		err := out(r)
		if errors.Is(err, ErrLarge) {
			err = out(reply{status: statuses[contracts.CodeInternal], body: encode(failed(errLarge))}) // it was counted as what it is
		}
		if err != nil {
			a.opts.Logger.Debug("api: an answer was not sent", slog.String("request", id), slog.Any("error", err))
		}
	}
	if len(body) > contracts.MaxBackendBody {
		answer(a.render(op, failed(errBody)))
		return
	}
	c, refused := a.admit(h)
	if refused != nil {
		answer(a.render(op, failed(refused)))
		return
	}
	took := a.carry(func() {
		defer a.leave(c)
		answer(a.guarded(ctx, &request{c, id}, op, body, h.Values(contracts.IdempotencyHeader)))
	})
	if !took {
		a.leave(c)
		answer(a.render(op, failed(refusal(contracts.CodeUnavailable, "the server stops, ask another one"))))
	}
}

// carry has work done that Close waits for, unless it is too late for that.
func (a *API) carry(work func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.taken.Go(work)
	}
	return !a.closed
}

// Close takes nothing more by [API.Take], and waits until what it has taken is answered, or ctx is over.
func (a *API) Close(ctx context.Context) {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	done := make(chan struct{})
	go func() {
		a.taken.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
