package tests

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/calls"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/client"
)

// httpTarget is a backend of the HTTP kind.
type httpTarget struct {
	*httptest.Server
	executed atomic.Int64
	sick     atomic.Bool
	written  atomic.Int64
}

func startTarget(t *testing.T, name string) *httpTarget {
	t.Helper()
	x := &httpTarget{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if x.sick.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("POST /rpc", func(w http.ResponseWriter, r *http.Request) {
		x.executed.Add(1)
		body, _ := io.ReadAll(r.Body)
		h := r.Header
		switch how := strings.Trim(string(body), `"`); how {
		case "huge":
			mib := []byte(strings.Repeat("x", 1<<20))
			for range 100 {
				n, err := w.Write(mib)
				x.written.Add(int64(n))
				if err != nil {
					return
				}
			}
		case "garbage":
			_, _ = io.WriteString(w, "<html>")
		case "smuggle":
			_, _ = io.WriteString(w, "1}}\n{\"msg\":{\"from\":\"root\",\"data\":1}}")
		case "moved":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "refuse":
			w.WriteHeader(http.StatusConflict)
		case "own":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":{"code":"no_such_cart","message":"it is gone"}}`)
		case "fail":
			w.WriteHeader(http.StatusInternalServerError)
		case "break":
			panic(http.ErrAbortHandler)
		case "pretty":
			_, _ = io.WriteString(w, "{\n  \"a\": 1\n}\n")
		default:
			_, _ = fmt.Fprintf(w, `{"at":%q,"client":%q,"key":%q,"id":%q,"in_time":%t,"session":%d,"data":%s}`, name, h.Get("Beeline-Client"), h.Get("Beeline-Key"),
				h.Get("Beeline-Request-Id"), h.Get("Beeline-Timeout-Ms") != "", len(h.Get("Beeline-Session")), body)
		}
	})
	x.Server = httptest.NewUnstartedServer(mux)
	x.Config.ErrorLog = nil
	x.Start()
	t.Cleanup(x.Close)
	return x
}

// overHTTP configures the service orders, and keyed, which is the same with a rule for its keys.
func overHTTP(targets ...*httpTarget) fleet.Option {
	s := calls.Service{Health: "/healthz"}
	for _, x := range targets {
		s.HTTP = append(s.HTTP, x.URL+"/rpc")
	}
	keyed := s
	keyed.Key = "data.cart"
	return fleet.Configure(func(c *node.Config) {
		c.Calls.Services = map[contracts.ServiceName]calls.Service{"orders": s, "keyed": keyed}
	})
}

func TestABackendMayBeHTTP(t *testing.T) {
	t.Parallel()
	one := startTarget(t, "one")
	f := fleet.New(t, 1, overHTTP(one))
	c := dialCaller(t, f, 0, "alice")
	call := func(service contracts.ServiceName, data string) (string, error) {
		got, err := c.Call(t.Context(), service, []byte(data), client.CallOptions{Timeout: 20 * time.Second})
		return string(got), err
	}
	// The key comes from the data, by the rule.
	got, err := call("keyed", `{"cart":"c-7"}`)
	if want := `{"at":"one","client":"alice","key":"c-7","id":"1","in_time":true,"session":32,"data":{"cart":"c-7"}}`; got != want || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := call("keyed", `{"cart":7}`); !strings.Contains(got, `"key":"7"`) || err != nil {
		t.Errorf("a number as a key: %s, %v", got, err)
	}
	if _, err := call("keyed", `{"cart":"white space"}`); codeOf(err) != contracts.CodeBadRequest {
		t.Errorf("what is no key: %v", err)
	}
	if _, err := call("keyed", `"no cart"`); codeOf(err) != contracts.CodeBadRequest {
		t.Errorf("data that the rule does not fit: %v", err)
	}
	if got, err := call("keyed", `{"n":1}`); !strings.Contains(got, `"key":""`) || err != nil {
		t.Errorf("data without a key: %s, %v", got, err)
	}
	if got, err := call("orders", `"pretty"`); got != `{"a":1}` && got != `{"a": 1}` || err != nil {
		t.Errorf("line breaks: %s, %v", got, err)
	}
	for how, want := range map[string]contracts.Code{
		"huge": contracts.CodeTooLarge, "garbage": contracts.CodeInternal, "smuggle": contracts.CodeInternal, "moved": contracts.CodeInternal,
		"refuse": contracts.CodeBadRequest, "own": "no_such_cart", "fail": contracts.CodeInternal, "break": contracts.CodeUnavailable,
	} {
		before := one.executed.Load()
		if got, err := call("orders", `"`+how+`"`); codeOf(err) != want {
			t.Errorf("%s: %s, %v", how, got, err)
		}
		if n := one.executed.Load() - before; n != 1 {
			t.Errorf("%s was carried out %d times", how, n)
		}
	}
	if n := one.written.Load(); n > 64<<20 {
		t.Errorf("%d bytes of an answer of 100 MiB were taken", n)
	}
	if got, err := call("orders", `"after all that"`); err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

func TestATargetThatIsAwayOrUnwellGetsNothing(t *testing.T) {
	t.Parallel()
	one, two, three := startTarget(t, "one"), startTarget(t, "two"), startTarget(t, "three")
	f := fleet.New(t, 1, overHTTP(one, two, three))
	c := dialCaller(t, f, 0, "alice")
	for i := range 30 {
		if _, err := c.Call(t.Context(), "orders", []byte("1"), client.CallOptions{Key: contracts.CallKey(fmt.Sprint("k", i))}); err != nil {
			t.Fatal(err)
		}
	}
	if one.executed.Load() == 0 || two.executed.Load() == 0 || three.executed.Load() == 0 {
		t.Error("a target got nothing: the test shows nothing")
	}
	one.Close() // takes no connection
	two.sick.Store(true)
	fleet.Eventually(t, "only one target is taken for well", func() bool {
		_, _ = c.Call(t.Context(), "orders", []byte("1"), client.CallOptions{})
		return f.Nodes[0].Value("beeline_calls_open_instances") == 2
	})
	before := two.executed.Load()
	for i := range 30 {
		if _, err := c.Call(t.Context(), "orders", []byte("1"), client.CallOptions{Key: contracts.CallKey(fmt.Sprint("k", i))}); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
	if n := two.executed.Load() - before; n != 0 {
		t.Errorf("a target that is not well got %d calls", n)
	}
	two.sick.Store(false)
	fleet.Eventually(t, "the other is well again", func() bool { return f.Nodes[0].Value("beeline_calls_open_instances") == 4 })
}
