package tests

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

const eventsSecret = "the-secret-of-events"

// listener is a backend that is told of events.
type listener struct {
	*httptest.Server

	mu       sync.Mutex
	refuse   int // posts that it does not take; guarded by mu, as all below
	refused  int
	unsigned int
	ids      map[string]bool
	said     []string // what it took, in order
}

type told struct {
	Cluster, Node string
	Events        []struct {
		ID, Event, Client, Session string
		AtMS                       int64 `json:"at_ms"`
		Msg                        json.RawMessage
	}
}

// listen starts a backend that does not take the first posts.
func listen(t *testing.T, refuse int) *listener {
	t.Helper()
	l := &listener{refuse: refuse, ids: map[string]bool{}}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	mac := hmac.New(sha256.New, []byte(eventsSecret))
	mac.Write(body)
	var post told
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Header.Get("Beeline-Signature") != "sha256="+hex.EncodeToString(mac.Sum(nil)) || json.Unmarshal(body, &post) != nil {
		l.unsigned++
	}
	if l.refuse > 0 {
		l.refuse--
		l.refused++
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for _, e := range post.Events {
		if l.ids[e.ID] || e.AtMS == 0 || post.Cluster != "a" {
			l.unsigned++ // which fails the test, too
		}
		l.ids[e.ID] = true
		l.said = append(l.said, fmt.Sprint(post.Node, " ", e.Event, " ", e.Client, string(e.Msg)))
	}
}

// hears waits until the backend was told of so many events, and returns them.
func (l *listener) hears(t *testing.T, n int) []string {
	t.Helper()
	var said []string
	fleet.Eventually(t, fmt.Sprint("told of ", n, " events"), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		said = append([]string{}, l.said...)
		return len(said) >= n
	})
	return said
}

func (l *listener) told() fleet.Option {
	return fleet.Configure(func(c *node.Config) {
		c.EventsURL, c.EventsSecret = l.URL, eventsSecret
		c.Edge.Linger = 50 * time.Millisecond
	})
}

func TestABackendIsToldOnceOfWhoComesWhoGoesAndWhatWasForNobody(t *testing.T) {
	t.Parallel()
	l := listen(t, 2) // it is down at first: what is told then is tried again
	f := fleet.New(t, 2, l.told())
	phone := f.Dial(0, "bob")
	l.hears(t, 1)
	tablet := f.Dial(1, "bob") // which is no news
	if got := phone.Send("eve", `{"n": 1.0}`); got != "offline" {
		t.Fatal(got)
	}
	l.hears(t, 2)
	before := f.Nodes[0].Value("beeline_edge_lookups_total")
	phone.Close()
	fleet.Eventually(t, "its node has asked who else has bob", func() bool { return f.Nodes[0].Value("beeline_edge_lookups_total") > before })
	tablet.Close()
	got := l.hears(t, 3)
	want := []string{"a1 connected bob", `a1 undelivered eve{"from":"bob","data":{"n":1.0}}`, "a2 disconnected bob"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("told of %q, not %q", got, want)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unsigned > 0 || l.refused != 2 {
		t.Errorf("%d posts or events were not as they should be, %d were refused", l.unsigned, l.refused)
	}
	if n := f.Nodes[0].Value("beeline_events_told_total") + f.Nodes[1].Value("beeline_events_told_total"); n != 3 {
		t.Errorf("counted as %v", n)
	}
}

func TestABackendIsToldOnlyWhatItAskedFor(t *testing.T) {
	t.Parallel()
	l := listen(t, 0)
	f := fleet.New(t, 1, l.told(), fleet.Configure(func(c *node.Config) { c.Events = []string{"undelivered"} }))
	bob := f.Dial(0, "bob")
	if got := bob.Send("eve", `1`); got != "offline" {
		t.Fatal(got)
	}
	bob.Close()
	eve := f.Dial(0, "eve")
	if got := eve.Send("carol", `2`); got != "offline" {
		t.Fatal(got)
	}
	want := []string{`a1 undelivered eve{"from":"bob","data":1}`, `a1 undelivered carol{"from":"eve","data":2}`}
	if got := l.hears(t, 2); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("told of %q", got)
	}
}

func TestABackendThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(stuck.Close)
	t.Cleanup(func() { close(release) })
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.EventsURL, c.StopTime = stuck.URL, 2*time.Second }))
	bob := f.Dial(0, "bob")
	large := `"` + strings.Repeat("x", 50_000) + `"`
	for range 200 { // more bytes than wait
		if got := bob.Send("eve", large); got != "offline" {
			t.Fatal(got)
		}
	}
	if n := f.Nodes[0].Value("beeline_events_dropped_total"); n < 20 || n > 100 {
		t.Errorf("%v events were dropped", n)
	}
	alive(t, f)
}
