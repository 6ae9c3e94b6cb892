package bench

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/proc"
)

// HTTPPart is the name of the part that is an instance of an HTTP service: a bare server that answers a POST at once with what it was sent.
// To whatever it is asked it answers with an [HTTPInstance].
const HTTPPart = "http"

// HTTPInstance is what the part says of itself.
type HTTPInstance struct {
	URL      string `json:"url"`
	Accepted uint64 `json:"accepted"` // connections, since its start
}

// httpBody bounds what an instance reads of a request, in bytes.
const httpBody = 64 << 20

// serveHTTP is an instance.
func serveHTTP(ctx context.Context, in io.Reader, out io.Writer) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var accepted atomic.Uint64
	s := &http.Server{
		Handler: http.HandlerFunc(echoBody), ReadHeaderTimeout: time.Minute,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				accepted.Add(1)
			}
		},
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) }) // until it is closed
	defer serving.Wait()
	defer s.Close()
	return proc.Serve(ctx, in, out, func(context.Context, json.RawMessage) (any, error) {
		return HTTPInstance{URL: "http://" + l.Addr().String() + "/rpc", Accepted: accepted.Load()}, nil
	})
}

func echoBody(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, httpBody))
	if err != nil {
		status := http.StatusBadRequest
		if errors.As(err, new(*http.MaxBytesError)) {
			status = http.StatusRequestEntityTooLarge
		}
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
