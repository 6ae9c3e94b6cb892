package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/usage"
)

func TestAProxyThatDoesNotAnswerOrKeepConnectionsBreaksTheRun(t *testing.T) {
	t.Parallel()
	closing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		echoBody(w, r)
	})
	for name, test := range map[string]struct {
		instance http.Handler
		accepted uint64 // for each request
		broken   string
	}{
		"as it should be":                      {http.HandlerFunc(echoBody), 0, ""},
		"new connections to the instances":     {http.HandlerFunc(echoBody), 100, "were not kept"},
		"it closes the connection":             {closing, 0, "were not answered"},
		"it finds no instance":                 {http.NotFoundHandler(), 0, "were not answered"},
		"it answers with what nobody has sent": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("1")) }), 0, "were not answered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Uint64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				test.instance.ServeHTTP(w, r)
			}))
			t.Cleanup(s.Close)
			env := Env{Accepted: func(context.Context) (uint64, error) { return asked.Load() * test.accepted, nil }}
			h := HTTPCalls{Calls{Instances: 1, Connections: 1, Window: 2, Size: 10, For: 200 * time.Millisecond}}
			r, err := h.watched(t.Context(), env, Proxy{Name: Nginx, URL: s.URL, Source: usage.PID(os.Getpid())})
			if err != nil {
				t.Fatal(err)
			}
			var sum uint64
			for _, n := range r.Outcomes {
				sum += n
			}
			if got := strings.Join(r.Broken, "; "); (got == "") != (test.broken == "") || !strings.Contains(got, test.broken) {
				t.Errorf("broken: %q", got)
			}
			if sum != r.Sent || r.Sent < asked.Load() {
				t.Errorf("%d sent, %d asked, %v", r.Sent, asked.Load(), r.Outcomes)
			}
		})
	}
}
