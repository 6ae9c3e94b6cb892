package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/apikey"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What these tests hold are moments that real nodes rarely show: messages without an end, a fault, answers that are large. So the
// edge is a fake, and so is Redis; the promises on real ones are in the folder tests.

// edgeFake does as it is told, and remembers in which order.
type edgeFake struct {
	post     func(done func(i int, o contracts.Outcome, nodes int))
	sessions int                  // of each client
	members  []contracts.ClientID // of every group; nil: asking is a fault

	mu  sync.Mutex
	did []string
}

func (e *edgeFake) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.did = append(e.did, fmt.Sprintf(format, args...))
}

func (e *edgeFake) Post(_ contracts.ClientID, to []contracts.Address, data []byte, done func(i int, o contracts.Outcome, nodes int)) {
	e.note("post %s %s", to[0].ID, data)
	if e.post != nil {
		e.post(done)
		return
	}
	for i := range to {
		done(i, contracts.Delivered, 0)
	}
}

func (e *edgeFake) Where(_ context.Context, clients []contracts.ClientID) ([][]contracts.Entry, *contracts.Error) {
	e.note("where %v", clients)
	where := make([][]contracts.Entry, len(clients))
	for i := range where {
		where[i] = make([]contracts.Entry, e.sessions)
	}
	return where, nil
}

func (e *edgeFake) MembersOf(contracts.MembersQuery) ([]contracts.ClientID, bool, *contracts.Error) {
	e.note("members")
	if e.members == nil {
		panic("a fault")
	}
	return e.members, false, nil
}

func (e *edgeFake) Disconnect(_ context.Context, c contracts.ClientID, _ contracts.SessionID, _ contracts.CloseCode) (int, *contracts.Error) {
	e.note("disconnect %s", c)
	return 1, nil
}

type everything struct{}

func (everything) Allows(string) bool { return true }

// begin returns an API over a fake, and how to ask it.
func begin(e *edgeFake) (*API, func(op, body string, headers ...string) *httptest.ResponseRecorder) {
	return beginWith(e, &answersFake{})
}

// beginWith does the same for one of several edges, which share their answers.
func beginWith(e *edgeFake, answers Answers) (*API, func(op, body string, headers ...string) *httptest.ResponseRecorder) {
	a := New(Options{Edge: e, Answers: answers, MaxData: 1000, Keys: []Key{{
		Name: "k", Hash: apikey.Of("key"), Scopes: Scopes, From: everything{}, Clients: everything{}, Groups: everything{},
	}}})
	return a, func(op, body string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/v1/"+op, strings.NewReader(body)) //nolint:noctx // a recorder waits for nobody
		r.Header.Set(apikey.Header, "key")
		for _, header := range headers {
			name, value, _ := strings.Cut(header, ": ")
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		a.Handler(r.Context()).ServeHTTP(w, r)
		return w
	}
}

const aSend = `{"from":"shop","to":"bob","data":1}`

func TestAMessageWithoutAnEndIsUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var late func(i int, o contracts.Outcome, nodes int)
		_, ask := begin(&edgeFake{post: func(done func(int, contracts.Outcome, int)) { late = done }})
		began := time.Now()
		w := ask("send", aSend, "Idempotency-Key: x")
		if w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), `"unknown"`) || time.Since(began) > requestTime {
			t.Errorf("%d %s after %v", w.Code, w.Body, time.Since(began))
		}
		late(0, contracts.Delivered, 0) // harms nobody
		if again := ask("send", aSend, "Idempotency-Key: x"); again.Code != http.StatusGatewayTimeout {
			t.Errorf("asked again, it was done again: %d", again.Code)
		}
	})
}

func TestABatchIsToldNoMoreThanAnEdgeCanHoldForAll(t *testing.T) {
	t.Parallel()
	_, ask := begin(&edgeFake{sessions: 6000})
	w := ask("batch", `{"operations":[{"presence":{"clients":["b"]}},{"presence":{"clients":["c"]}},{"presence":{"clients":["d"]}},
		{"send":{"from":"a","to":"b","data":1}},{"disconnect":{"client":"b"}}]}`)
	var answer struct{ OK contracts.BatchAnswer }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, r := range answer.OK.Results {
		got = append(got, r.Status)
	}
	if want := []int{200, 200, 413, 200, 413}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

func TestABatchKeepsTheOrderInWhichItWasWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &edgeFake{}
		e.post = func(done func(int, contracts.Outcome, int)) {
			time.AfterFunc(time.Second, func() {
				e.note("delivered")
				done(0, contracts.Delivered, 0)
			})
		}
		_, ask := begin(e)
		w := ask("batch", `{"operations":[{"send":{"from":"a","to":"b","data":1}},{"send":{"from":"a","to":"b","data":2}},
			{"disconnect":{"client":"b"}},{"publish":{"from":"a","group":"g","data":3}},{"presence":{"clients":["b"]}}]}`)
		want := "[post b 1 post b 2 delivered delivered disconnect b post g 3 delivered where [b]]"
		if got := fmt.Sprint(e.did); w.Code != http.StatusOK || got != want {
			t.Errorf("%d %s: %s", w.Code, w.Body, got)
		}
	})
}

func TestAFaultIsThatOfOneRequest(t *testing.T) {
	t.Parallel()
	_, ask := begin(&edgeFake{})
	for range 2 * maxUnderWay {
		w := ask("members", `{"group":"g"}`)
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"internal"`) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if w := ask("send", aSend, "Beeline-Request-Id: mine"); w.Code != http.StatusOK || w.Header().Get(RequestIDHeader) != "mine" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := ask("send", aSend, "Beeline-Request-Id: <mine>"); len(w.Header().Get(RequestIDHeader)) != 16 {
		t.Errorf("%v", w.Header())
	}
}

func TestTooManyRequestsAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		_, ask := begin(&edgeFake{post: func(done func(int, contracts.Outcome, int)) {
			<-release
			done(0, contracts.Delivered, 0)
		}})
		var all sync.WaitGroup
		for range maxOfKey {
			all.Go(func() {
				if w := ask("send", aSend); w.Code != http.StatusOK {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		synctest.Wait()
		if w := ask("presence", `{"clients":["b"]}`); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		close(release)
		all.Wait()
	})
}

func TestOneKeyDoesNotTakeTheRequestsOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		key := Key{Scopes: Scopes, From: everything{}, Clients: everything{}, Groups: everything{}}
		slow, other := key, key
		slow.Hash, other.Hash = apikey.Of("slow"), apikey.Of("other")
		h := New(Options{Edge: &edgeFake{}, MaxData: 1000, Keys: []Key{slow, other}}).Handler(t.Context())
		ask := func(key string, body io.Reader) int {
			r := httptest.NewRequest(http.MethodPost, "/v1/send", body) //nolint:noctx // a recorder waits for nobody
			r.Header.Set(apikey.Header, key)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code
		}
		var all sync.WaitGroup
		never, end := io.Pipe()
		for range 2 * maxUnderWay {
			all.Go(func() { ask("slow", never) }) // its body does not come
		}
		synctest.Wait()
		if got := ask("slow", strings.NewReader(aSend)); got != http.StatusServiceUnavailable {
			t.Errorf("one more of the slow: %d", got)
		}
		if got := ask("other", strings.NewReader(aSend)); got != http.StatusOK {
			t.Errorf("another key: %d", got)
		}
		_ = end.Close()
		all.Wait()
	})
}
