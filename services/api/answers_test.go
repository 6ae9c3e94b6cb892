package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// answersFake remembers as Redis does, and can be away.
type answersFake struct {
	mu        sync.Mutex
	entries   map[string]*entryFake
	away      bool // nothing is written or read
	forgets   int
	forgetful bool // the twin: nothing is remembered
}

type entryFake struct {
	r      contracts.NamedRequest
	began  time.Time
	status int
	body   []byte
}

var errAway = errors.New("connection refused")

func (f *answersFake) BeginNamed(_ context.Context, r contracts.NamedRequest, _ time.Duration) (contracts.NamedAnswer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[r.Name]
	switch {
	case f.away:
		return contracts.NamedAnswer{}, errAway
	case e == nil || f.forgetful:
		if f.entries == nil {
			f.entries = map[string]*entryFake{}
		}
		f.entries[r.Name] = &entryFake{r: r, began: time.Now()}
		return contracts.NamedAnswer{Mine: true}, nil
	case e.r.Asked != r.Asked:
		return contracts.NamedAnswer{Other: true}, nil
	}
	return contracts.NamedAnswer{Status: e.status, Body: e.body, Age: time.Since(e.began)}, nil
}

func (f *answersFake) EndNamed(_ context.Context, r contracts.NamedRequest, status int, body []byte, _ time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return errAway
	}
	if e := f.entries[r.Name]; e.r.Try == r.Try {
		e.status, e.body = status, body
	}
	return nil
}

func (f *answersFake) ForgetNamed(_ context.Context, r contracts.NamedRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgets++
	if f.away {
		return errAway
	}
	if f.entries[r.Name].r.Try == r.Try {
		delete(f.entries, r.Name)
	}
	return nil
}

func (f *answersFake) goAway(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

// kept is how many bytes all entries take, as they are counted.
func (f *answersFake) kept() (n int) {
	for _, e := range f.entries {
		n += cost(len(e.body))
	}
	return n
}

const named = "Idempotency-Key: x"

func TestThatNothingWasDoneIsNotKept(t *testing.T) {
	t.Parallel()
	o := contracts.Unavailable
	e := &edgeFake{post: func(done func(int, contracts.Outcome, int)) { done(0, o, 0) }}
	_, ask := begin(e)
	if w := ask("send", aSend, "Idempotency-Key: x"); w.Code != http.StatusServiceUnavailable {
		t.Error(w.Code)
	}
	o = contracts.Offline
	for range 2 {
		if w := ask("send", aSend, "Idempotency-Key: x"); w.Code != http.StatusNotFound {
			t.Error(w.Code)
		}
	}
	if len(e.did) != 2 {
		t.Errorf("it was tried %d times", len(e.did))
	}
}

// The twin is the same without a memory: it is done by both.
func TestARequestUnderWayOnOneEdgeIsWaitedForOnAnother(t *testing.T) {
	t.Parallel()
	for _, twin := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			shared, took := &answersFake{forgetful: twin}, requestTime/2
			slow := &edgeFake{post: func(done func(int, contracts.Outcome, int)) {
				time.AfterFunc(took, func() { done(0, contracts.Delivered, 0) })
			}}
			_, one := beginWith(slow, shared)
			_, two := beginWith(slow, shared)
			began, asked := time.Now(), make(chan *httptest.ResponseRecorder)
			go func() { asked <- one("send", aSend, named) }()
			synctest.Wait()
			go func() { asked <- two("send", aSend, named) }()
			for range 2 {
				if w := <-asked; w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "delivered") {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			}
			if more := time.Since(began) - took; more > longAskTime {
				t.Errorf("the second was answered %v after the first", more)
			}
			if want := map[bool]int{false: 1, true: 2}[twin]; len(slow.did) != want {
				t.Errorf("twin %v: it was done %d times", twin, len(slow.did))
			}
		})
	}
}

func TestARequestWhoseEdgeIsGoneIsUnknownAndNotDoneAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared, never := &answersFake{}, &edgeFake{post: func(func(int, contracts.Outcome, int)) {}}
		_, gone := beginWith(never, shared)
		e := &edgeFake{}
		_, ask := beginWith(e, shared)
		ended := make(chan int)
		go func() { ended <- gone("send", aSend, named).Code }()
		synctest.Wait()
		shared.goAway(true) // for the first, for good
		if got := <-ended; got != http.StatusGatewayTimeout {
			t.Error(got)
		}
		shared.goAway(false)
		shared.entries["x"].began = time.Now().Add(-requestTime / 2)
		for _, wait := range []time.Duration{requestTime / 2, 0, 0} { // then it need not be waited for
			began := time.Now()
			w := ask("send", aSend, named)
			if took := time.Since(began); w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), `"unknown"`) || took < wait || took > wait+longAskTime {
				t.Errorf("%d %s after %v", w.Code, w.Body, took)
			}
		}
		if w := ask("send", `{"from":"shop","to":"bob","data":2}`, named); w.Code != http.StatusUnprocessableEntity {
			t.Error(w.Code)
		}
		if len(e.did) != 0 {
			t.Errorf("it was done: %v", e.did)
		}
	})
}

func TestWhatNobodyCanLookUpIsNotDone(t *testing.T) {
	t.Parallel()
	shared, e := &answersFake{away: true}, &edgeFake{}
	_, ask := beginWith(e, shared)
	if w := ask("send", aSend, named); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if len(e.did) != 0 || shared.forgets != 1 { // it may have been noted
		t.Errorf("%v, forgotten %d times", e.did, shared.forgets)
	}
	if w := ask("send", aSend); w.Code != http.StatusOK { // without a name nobody is asked
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAFaultIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	e := &edgeFake{}
	_, ask := begin(e)
	for range 3 {
		if w := ask("members", `{"group":"g"}`, named); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"internal"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if len(e.did) != 1 {
		t.Errorf("it was done %d times", len(e.did))
	}
}

// largePage is as large as a page of members can be.
func largePage() []contracts.ClientID {
	return slices.Repeat([]contracts.ClientID{contracts.ClientID(strings.Repeat("m", 128))}, 1000)
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared, e := &answersFake{}, &edgeFake{}
		_, ask := beginWith(e, shared)
		n, last := 0, 0
		round := func() {
			e.members = largePage()
			for done := 0; ; n++ {
				if last = ask("members", `{"group":"g"}`, fmt.Sprint("Idempotency-Key: ", n)).Code; last != http.StatusOK {
					if len(e.did) != done {
						t.Error("what was refused was done")
					}
					return
				}
				done = len(e.did)
				if shared.entries[fmt.Sprint(n)].status != http.StatusOK { // there was no room for more of these
					e.members = e.members[:1]
				}
				if shared.kept() > 4*keptBytes {
					t.Fatal("there is no bound")
				}
			}
		}
		round()
		if kept := shared.kept(); last != http.StatusTooManyRequests || kept > keptBytes || kept < keptBytes/2 {
			t.Errorf("%d after %d answers, which take %d bytes", last, n, kept)
		}
		if w := ask("members", `{"group":"g"}`); w.Code != http.StatusOK { // without a name
			t.Error(w.Code)
		}
		<-time.After(answersLife)
		before := shared.kept()
		round()
		if kept := shared.kept() - before; kept > keptBytes+keptBytes/10 || kept < keptBytes/2 {
			t.Errorf("after ten minutes, %d more bytes", kept)
		}
	})
}

func TestAnAnswerThatIsTooLargeIsNotKeptAndTheRequestNotDoneAgain(t *testing.T) {
	t.Parallel()
	e := &edgeFake{members: largePage()}
	_, ask := begin(e)
	batch := `{"operations":[` + strings.Repeat(`{"members":{"group":"g"}},`, 50) + `{"members":{"group":"g"}}]}`
	if w := ask("batch", batch, named); w.Code != http.StatusOK || w.Body.Len() <= maxKept {
		t.Fatalf("%d, %d bytes", w.Code, w.Body.Len())
	}
	did := len(e.did)
	for range 2 {
		if w := ask("batch", batch, named); w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), `"unknown"`) {
			t.Errorf("%d %.100s", w.Code, w.Body)
		}
	}
	if len(e.did) != did || did == 0 {
		t.Errorf("%d operations were done, and then %d", did, len(e.did)-did)
	}
}
