package registry

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Path is where connections are asked for.
const Path = "/v1/connections"

const (
	maxBody     = 4096 // bytes
	maxUnderWay = 1024 // requests at a time: more wait for the hook than any hook answers
)

// statuses are the HTTP statuses of errors.
var statuses = map[contracts.Code]int{
	contracts.CodeBadRequest:   http.StatusBadRequest,
	contracts.CodeUnauthorized: http.StatusUnauthorized,
	contracts.CodeForbidden:    http.StatusForbidden,
	contracts.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	contracts.CodeRateLimited:  http.StatusTooManyRequests,
	contracts.CodeUnavailable:  http.StatusServiceUnavailable,
	contracts.CodeInternal:     http.StatusInternalServerError,
}

// Handler serves callers.
func (r *Registry) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+Path, r.serve)
	mux.HandleFunc("OPTIONS "+Path, r.preflight)
	mux.HandleFunc(Path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "POST, OPTIONS")
		r.refuse(w, http.StatusMethodNotAllowed, 0, refusal(contracts.CodeBadRequest, "ask with POST"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		r.refuse(w, http.StatusNotFound, 0, refusal(contracts.CodeBadRequest, "there is nothing here; connections are asked for at "+Path))
	})
	return mux
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	if !r.fromPage(w, req) {
		r.refuse(w, 0, 0, refusal(contracts.CodeForbidden, errOrigin))
		return
	}
	select {
	case r.places <- struct{}{}:
		defer func() { <-r.places }()
	default:
		r.refuse(w, 0, time.Second, refusal(contracts.CodeUnavailable, "too many requests are under way"))
		return
	}
	answer, wait, refused := r.answer(w, req)
	if refused != nil {
		r.refuse(w, 0, wait, refused)
		return
	}
	r.metrics.answered.Inc()
	r.write(w, http.StatusOK, answer)
}

// answer takes a request from its headers to an answer, or to an error and how long to wait after it.
func (r *Registry) answer(w http.ResponseWriter, hr *http.Request) (contracts.Connection, time.Duration, *contracts.Error) {
	none := contracts.Connection{}
	who, refused := r.identify(hr.Header)
	if refused != nil {
		return none, 0, refused
	}
	req, refused := readRequest(w, hr)
	if refused == nil {
		refused = who.resolve(&req)
	}
	if refused != nil {
		return none, 0, refused
	}
	now := time.Now()
	if wait := r.limits.take(now, req.Client); wait > 0 {
		return none, wait, refusal(contracts.CodeRateLimited, "this client asks too often")
	}
	if refused := r.admit(hr.Context(), req); refused != nil {
		return none, time.Second, refused
	}
	answer, refused := r.connect(now, req)
	return answer, time.Second, refused
}

func readRequest(w http.ResponseWriter, hr *http.Request) (contracts.ConnectionRequest, *contracts.Error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, maxBody))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return contracts.ConnectionRequest{}, refusal(contracts.CodeTooLarge, "the body has more than 4096 bytes")
		}
		return contracts.ConnectionRequest{}, refusal(contracts.CodeBadRequest, "the body could not be read")
	}
	return contracts.DecodeConnectionRequest(body)
}

// refuse answers with an error. Without a status it is that of the error's code; wait is told where asking again helps.
func (r *Registry) refuse(w http.ResponseWriter, status int, wait time.Duration, refused *contracts.Error) {
	if status == 0 {
		status = statuses[refused.Code]
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int((max(wait, 1)+time.Second-1)/time.Second)))
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	r.metrics.refusals.WithLabelValues(string(refused.Code)).Inc()
	r.write(w, status, refused)
}

func (r *Registry) write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // a ticket is for one
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // or the URL could not be copied from a terminal
	if err := e.Encode(v); err != nil {
		r.log.Debug("registry: an answer was not written", slog.Any("error", err))
	}
}
