package hook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// batch is the body of a post.
type batch struct {
	Cluster string  `json:"cluster"`
	Node    string  `json:"node"`
	Events  []Event `json:"events"`
	size    int64   // bytes of it all
}

// backendFake answers posts without sockets, so that time can be fake.
type backendFake func(b batch) int

var errAway = errors.New("connection refused")

func (f backendFake) RoundTrip(r *http.Request) (*http.Response, error) {
	var b batch
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		return nil, err
	}
	b.size = r.ContentLength
	status := f(b)
	if status == 0 {
		return nil, errAway
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// tell runs a test of events that a backend is told of, in fake time.
func tell(t *testing.T, backend backendFake, f func(e *Events)) EventsStats {
	t.Helper()
	var stats EventsStats
	synctest.Test(t, func(t *testing.T) {
		e, err := NewEvents(t.Context(), EventsConfig{URL: "http://backend.example/", Cluster: "a", Node: "a1", Start: "7"})
		if err != nil {
			t.Fatal(err)
		}
		e.post.client.Transport = backend
		f(e)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		e.Close(ctx)
		stats = e.Stats()
	})
	return stats
}

func TestEventsAreToldInOrderManyAtATimeAndTriedAgain(t *testing.T) {
	t.Parallel()
	const events = 1200
	var taken []Event
	posts, largest := 0, 0
	stats := tell(t, func(b batch) int {
		posts++
		if posts <= 3 {
			return []int{0, 500, 302}[posts-1]
		}
		largest = max(largest, len(b.Events))
		taken = append(taken, b.Events...)
		return 204
	}, func(e *Events) {
		for i := range events {
			e.Tell(Event{Event: "undelivered", Client: strconv.Itoa(i), Msg: json.RawMessage(`{"from":"a","data":"<1> "}`)})
		}
		<-time.After(time.Minute)
	})
	if stats != (EventsStats{Told: events}) || largest != maxBatch || posts > 10 {
		t.Fatalf("%+v, %d in a post, %d posts", stats, largest, posts)
	}
	for i, x := range taken {
		if x.Client != strconv.Itoa(i) || x.ID != "a1-7-"+strconv.Itoa(i+1) || x.AtMS == 0 || string(x.Msg) != `{"from":"a","data":"<1> "}` {
			t.Fatalf("the %dth is %+v %s", i, x, x.Msg)
		}
	}
}

// The largest events that there are come in messages of 512 KiB; the largest posts have many that are small.
func TestAPostIsNoLargerThanAMebibyte(t *testing.T) {
	t.Parallel()
	const mebibyte = 1 << 20
	for _, size := range []int{2, 1900, 2048, 100 << 10, 512 << 10} {
		var sizes []int64
		msg := json.RawMessage(`"` + strings.Repeat("<", size-2) + `"`) // 3 bytes more if it were escaped
		events := min(2*maxBatch, 4*mebibyte/(size+300))
		stats := tell(t, func(b batch) int {
			sizes = append(sizes, b.size)
			if b.Cluster != "a" || b.Node != "a1" {
				t.Errorf("of %q %q", b.Cluster, b.Node)
			}
			return 200
		}, func(e *Events) {
			for range events {
				e.Tell(Event{Event: "undelivered", Client: strings.Repeat("c", 128), Session: strings.Repeat("0", 32), Msg: msg})
			}
			<-time.After(time.Minute)
		})
		largest := slices.Max(sizes)
		if stats != (EventsStats{Told: uint64(events)}) || largest > mebibyte {
			t.Errorf("messages of %d: %+v, a post of %d bytes", size, stats, largest)
		}
		if full := int64(mebibyte - size - 400); size >= 2048 && largest < full {
			t.Errorf("messages of %d: posts of %d bytes, which have room for another", size, largest)
		}
	}
}

func TestAnEventThatIsNoJSONIsLostAlone(t *testing.T) {
	t.Parallel()
	stats := tell(t, func(batch) int { return 200 }, func(e *Events) {
		for i := range 5 {
			x := Event{Msg: json.RawMessage(`1`)}
			if i%2 == 0 {
				x.Msg = json.RawMessage(`}`)
			}
			e.Tell(x)
		}
		<-time.After(time.Minute)
	})
	if stats != (EventsStats{Told: 2, Failed: 3}) {
		t.Errorf("%+v", stats)
	}
}

func TestTooManyEventsAreDroppedTheNewestFirst(t *testing.T) {
	t.Parallel()
	for _, large := range []bool{false, true} {
		msg, fit := json.RawMessage(`1`), maxWaiting
		if large {
			msg = json.RawMessage(`"` + strings.Repeat("x", 1<<18) + `"`)
			fit = maxWaitingBytes / (len(msg) + eventCost)
		}
		var back atomic.Bool
		taken, last := 0, ""
		stats := tell(t, func(b batch) int {
			if !back.Load() {
				return 503
			}
			taken += len(b.Events)
			last = b.Events[len(b.Events)-1].Client
			return 200
		}, func(e *Events) {
			for i := range fit + 100 {
				e.Tell(Event{Client: strconv.Itoa(i), Msg: msg})
			}
			synctest.Wait()
			if s := e.Stats(); s.Waiting != fit || s.Dropped != 100 {
				t.Errorf("%+v", s)
			}
			back.Store(true)
			<-time.After(time.Minute)
		})
		if taken != fit || last != strconv.Itoa(fit-1) || stats != (EventsStats{Told: uint64(fit), Dropped: 100}) {
			t.Errorf("%d were told, up to %s: %+v", taken, last, stats)
		}
	}
}

func TestWhatABackendDoesNotTakeIsGivenUpAndCounted(t *testing.T) {
	t.Parallel()
	for status, most := range map[int]int{0: maxTries, 404: maxTries, 503: maxTries, 400: 1, 413: 1, 422: 1} {
		posts, took := 0, time.Duration(0)
		stats := tell(t, func(b batch) int {
			if b.Events[0].Client == "bad" {
				posts++
				return status
			}
			return 200
		}, func(e *Events) {
			e.Tell(Event{Client: "bad"})
			began := time.Now()
			for e.Stats().Failed == 0 {
				<-time.After(time.Second)
			}
			took = time.Since(began)
			e.Tell(Event{Client: "good"})
			synctest.Wait()
		})
		if posts != most || stats != (EventsStats{Told: 1, Failed: 1}) || took > 5*time.Minute {
			t.Errorf("status %d: %d posts in %v, %+v", status, posts, took, stats)
		}
	}
}

func TestWhatWaitsWhenTheProcessEndsIsTriedOnce(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		posts := 0
		stats := tell(t, func(batch) int {
			posts++
			if away || posts == 1 {
				return 500
			}
			return 200
		}, func(e *Events) {
			for range 2 * maxBatch {
				e.Tell(Event{})
			}
			synctest.Wait() // it waits for its second try
		})
		want := EventsStats{Told: 2 * maxBatch}
		if away {
			want = EventsStats{Dropped: 2 * maxBatch}
		}
		if stats != want || posts != map[bool]int{true: 2, false: 3}[away] {
			t.Errorf("away %v: %+v, %d posts", away, stats, posts)
		}
	}
}
