package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/apikey"
)

// RequestIDHeader names a request in logs: as the backend says, or else as it is told.
const RequestIDHeader = "Beeline-Request-Id"

// requestTime bounds what is done for one request, a batch too.
const requestTime = 10 * time.Second

// statuses are the HTTP statuses of errors.
var statuses = map[contracts.Code]int{
	contracts.CodeBadRequest:   http.StatusBadRequest,
	contracts.CodeUnauthorized: http.StatusUnauthorized,
	contracts.CodeForbidden:    http.StatusForbidden,
	contracts.CodeOffline:      http.StatusNotFound,
	contracts.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	contracts.CodeRateLimited:  http.StatusTooManyRequests,
	contracts.CodeUnavailable:  http.StatusServiceUnavailable,
	contracts.CodeUnknown:      http.StatusGatewayTimeout,
	contracts.CodeTimeout:      http.StatusGatewayTimeout,
	contracts.CodeInternal:     http.StatusInternalServerError,
}

// undone are the errors that say that nothing was done: whoever asks again is not told the same from memory.
var undone = []contracts.Code{
	contracts.CodeBadRequest, contracts.CodeUnauthorized, contracts.CodeForbidden, contracts.CodeTooLarge,
	contracts.CodeRateLimited, contracts.CodeUnavailable,
}

// Operations are what can be asked for, each by POST at /v1/ and its name.
func Operations() []contracts.BackendOp {
	return append(slices.Sorted(maps.Keys(scopes)), contracts.BackendBatch)
}

// DocumentPath is where the description of the API is.
const DocumentPath = "/v1/openapi.yaml"

// Handler serves backends. ctx is for what is done.
func (a *API) Handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	for _, op := range Operations() {
		path := "/v1/" + string(op)
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { a.serve(ctx, w, r, op) })
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", http.MethodPost)
			a.refuse(w, op, http.StatusMethodNotAllowed, refusal(contracts.CodeBadRequest, "ask with POST"))
		})
	}
	mux.HandleFunc("GET "+DocumentPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(Document)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		a.refuse(w, "none", http.StatusNotFound, refusal(contracts.CodeBadRequest, "there is nothing here; "+DocumentPath+" says what there is"))
	})
	return mux
}

// serve answers one request. What it asks for goes on when its connection breaks: the backend may ask again what became of it.
func (a *API) serve(ctx context.Context, w http.ResponseWriter, r *http.Request, op contracts.BackendOp) {
	id := requestID(r.Header)
	w.Header().Set(RequestIDHeader, id)
	c, refused := a.admit(r.Header)
	if refused != nil {
		a.refuse(w, op, 0, refused)
		return
	}
	defer a.leave(c)
	body, refused := readBody(w, r)
	if refused != nil {
		a.refuse(w, op, 0, refused)
		return
	}
	a.write(w, a.guarded(ctx, &request{c, id}, op, body, r.Header.Values(contracts.IdempotencyHeader)))
}

// guarded takes a request from its body to what is written, in a time that is bounded, also when there is a fault in what is called.
func (a *API) guarded(ctx context.Context, c *request, op contracts.BackendOp, body []byte, names []string) (r reply) {
	defer func() {
		if p := recover(); p != nil {
			a.opts.Logger.Error("api: fault while answering a backend", slog.String("request", c.id), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			r = a.render(op, failed(errFault))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	return a.answer(ctx, c, op, body, names)
}

// admit finds out who is asking, and takes a place for the request, which is to leave.
func (a *API) admit(h http.Header) (*caller, *contracts.Error) {
	c, refused := a.identify(h)
	if refused == nil && !a.enter(c) {
		refused = refusal(contracts.CodeUnavailable, "too many requests are under way")
	}
	return c, refused
}

// enter takes a place for a request, if there is one; leave gives it back.
func (a *API) enter(c *caller) bool {
	if c.underWay.Add(1) <= maxOfKey { // what its own bound refuses takes no place, not even for a moment
		if a.underWay.Add(1) <= maxUnderWay {
			return true
		}
		a.underWay.Add(-1)
	}
	c.underWay.Add(-1)
	return false
}

func (a *API) leave(c *caller) {
	a.underWay.Add(-1)
	c.underWay.Add(-1)
}

// requestID is what the backend calls its request, or a new id.
func requestID(h http.Header) string {
	if id, err := contracts.ParseClientID(h.Get(RequestIDHeader)); err == nil {
		return string(id)
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

// identify finds out which key is asking.
func (a *API) identify(h http.Header) (*caller, *contracts.Error) {
	keys := apikey.In(h)
	if len(keys) != 1 {
		return nil, refusal(contracts.CodeUnauthorized, "an API key is needed, in the header "+apikey.Header)
	}
	i := apikey.Find(keys[0], a.hashes)
	if i < 0 {
		return nil, refusal(contracts.CodeUnauthorized, "no such API key")
	}
	return a.callers[i], nil
}

var errBody = refusal(contracts.CodeTooLarge, "the body has more than 1 MiB")

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *contracts.Error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, contracts.MaxBackendBody))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return nil, errBody
		}
		return nil, refusal(contracts.CodeBadRequest, "the body could not be read")
	}
	return body, nil
}

// answer takes a request from its body to what is written.
func (a *API) answer(ctx context.Context, c *request, op contracts.BackendOp, body []byte, names []string) reply {
	items, refused := decode(op, body)
	n := operations(items)
	wait, tooFast := c.take(n)
	switch {
	case tooFast != nil:
		r := a.render(op, failed(tooFast))
		r.wait = wait
		return r
	case refused != nil:
		return a.render(op, failed(refused))
	case len(names) == 0:
		return a.run(ctx, c, op, items)
	case len(names) > 1, names[0] == "", len(names[0]) > maxIdemKey:
		return a.render(op, failed(refusal(contracts.CodeBadRequest, contracts.IdempotencyHeader+" must be there once, with 1 to 255 bytes")))
	}
	return a.once(ctx, c, op, body, names[0], n, func() reply { return a.run(ctx, c, op, items) })
}

// decode reads what is asked for: one operation, or those of a batch.
func decode(op contracts.BackendOp, body []byte) ([]contracts.BatchItem, *contracts.Error) {
	if op == contracts.BackendBatch {
		return contracts.DecodeBackendBatch(body)
	}
	req, bad := contracts.DecodeBackendRequest(op, body)
	return []contracts.BatchItem{{Request: req}}, bad
}

// operations is how many operations there are: a message to many, or a question about many, is as many. What is not of the
// protocol costs as much as an operation.
func operations(items []contracts.BatchItem) int {
	n := 0
	for _, item := range items {
		n += max(1, len(item.Request.Clients))
	}
	return max(1, n)
}

// take pays for operations from what the key may do at a time, or says how long to wait.
func (c *caller) take(n int) (time.Duration, *contracts.Error) {
	if n > c.Burst {
		return 0, refusal(contracts.CodeTooLarge, "this is more than the API key may do at once: divide it")
	}
	if wait := pay(c.limiter, n); wait > 0 {
		return wait, refusal(contracts.CodeRateLimited, "this API key asks too often")
	}
	return 0, nil
}

// pay takes n from a limiter, or nothing: then it says when there will be so much. It has room for n.
func pay(l *rate.Limiter, n int) time.Duration {
	now := time.Now()
	taken := l.ReserveN(now, n)
	wait := taken.DelayFrom(now)
	if wait > 0 {
		taken.CancelAt(now)
	}
	return wait
}

// run carries out what is asked for.
func (a *API) run(ctx context.Context, c *request, op contracts.BackendOp, items []contracts.BatchItem) reply {
	answers := a.carryOutAll(ctx, c, items)
	if op != contracts.BackendBatch {
		return a.render(op, answers[0])
	}
	batch := contracts.BatchAnswer{Results: make([]contracts.BatchResult, len(answers))}
	for i, answer := range answers {
		if o := items[i].Request.Op; o != "" {
			a.metrics.ended(o, answer)
		}
		batch.Results[i] = contracts.BatchResult{Status: statusOf(answer), BackendAnswer: answer}
	}
	return a.render(op, done(batch))
}

// carryOutAll carries out operations in their order. Messages that follow each other go out together; anything else waits for
// the end of what was before it, and is refused once the answers have become too large.
func (a *API) carryOutAll(ctx context.Context, c *request, items []contracts.BatchItem) []contracts.BackendAnswer {
	answers := make([]contracts.BackendAnswer, len(items))
	size := 0 // of them
	var waiting []func()
	settle := func() {
		for _, w := range waiting {
			w()
		}
		waiting = nil
	}
	for i := range items {
		if items[i].Bad != nil {
			answers[i] = failed(items[i].Bad)
			continue
		}
		if items[i].Request.From == "" {
			settle()
			if size > maxAnswers {
				answers[i] = failed(errTooMuch)
				continue
			}
			answers[i] = a.start(ctx, c, &items[i].Request)()
			size += sizeOf(answers[i])
			continue
		}
		wait := a.start(ctx, c, &items[i].Request)
		waiting = append(waiting, func() { answers[i] = wait() })
	}
	settle()
	return answers
}

// maxAnswers is from where on a batch asks for nothing more, in bytes of what it was told: 256 requests of as much are 512 MiB.
const maxAnswers = 2 << 20

var errTooMuch = refusal(contracts.CodeTooLarge, "the answers of this batch have become too large: ask for the rest in another one")

// sizeOf is about how many bytes an answer has that may have many.
func sizeOf(answer contracts.BackendAnswer) (n int) {
	const session = 200 // and what else there is of a client
	switch ok := answer.OK.(type) {
	case contracts.MembersAnswer:
		for _, id := range ok.Members {
			n += len(id) + len(`"",`)
		}
	case contracts.PresenceAnswer:
		for _, c := range ok.Clients {
			n += len(c.Client) + session*(1+len(c.Sessions))
		}
	}
	return n
}

func statusOf(answer contracts.BackendAnswer) int {
	if answer.Error != nil {
		return statuses[answer.Error.Code]
	}
	return http.StatusOK
}

// render makes of an answer what is written, and counts it.
func (a *API) render(op contracts.BackendOp, answer contracts.BackendAnswer) reply {
	a.metrics.ended(op, answer)
	return reply{
		status: statusOf(answer), body: encode(answer), wait: time.Second,
		keep: answer.Error == nil || !slices.Contains(undone, answer.Error.Code),
	}
}

func encode(answer contracts.BackendAnswer) []byte {
	body, err := json.Marshal(answer)
	if err != nil { // an answer is of types that always encode
		panic("api: " + err.Error())
	}
	return append(body, '\n')
}

// refuse answers with an error. Without a status it is that of the error's code.
func (a *API) refuse(w http.ResponseWriter, op contracts.BackendOp, status int, refused *contracts.Error) {
	r := a.render(op, failed(refused))
	if status != 0 {
		r.status = status
	}
	a.write(w, r)
}

// sayWhen says after how long asking again may help, where it may.
func (r reply) sayWhen(h http.Header) {
	if r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(int((max(r.wait, 1)+time.Second-1)/time.Second)))
	}
}

func (a *API) write(w http.ResponseWriter, r reply) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	r.sayWhen(h)
	w.WriteHeader(r.status)
	if _, err := w.Write(r.body); err != nil {
		a.opts.Logger.Debug("api: an answer was not written", slog.Any("error", err))
	}
}
