package client

import (
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestWaitsAreDrawnFromTheWholeOfAGrowingBound(t *testing.T) {
	t.Parallel()
	const rounds = 2000
	bounds := []int{1, 1, 2, 4, 8, 16, 30, 30, 30}
	var least, most [9]time.Duration
	for round := range rounds {
		r := retries{Backoff: Backoff{}.withDefaults()}
		for i := range bounds {
			wait := r.next(contracts.RetryBackoff, 0)
			if round == 0 || wait < least[i] {
				least[i] = wait
			}
			most[i] = max(most[i], wait)
		}
	}
	for i, seconds := range bounds {
		bound := time.Duration(seconds) * time.Second
		if most[i] > bound || most[i] < bound*95/100 || least[i] > bound*5/100 {
			t.Errorf("wait %d was from %s to %s, not from 0 to %s", i+1, least[i], most[i], bound)
		}
	}
}

func TestAConnectionThatHeldEndsTheRowOfFailures(t *testing.T) {
	t.Parallel()
	r := retries{Backoff: Backoff{}.withDefaults()}
	for range 5 {
		r.next(contracts.RetryBackoff, 0)
	}
	r.held(29 * time.Second)
	if r.failures != 5 {
		t.Errorf("after 29 s: %d", r.failures)
	}
	r.held(30 * time.Second)
	if r.failures != 0 {
		t.Errorf("after 30 s: %d", r.failures)
	}
}

func TestAnExtremeBackoffIsStillBounded(t *testing.T) {
	t.Parallel()
	for _, b := range []Backoff{{Base: 1 << 62}, {First: 1 << 62}, {Base: 1, Cap: 1, First: 1}, {First: -1, Base: -1, Cap: -1}} {
		b = b.withDefaults()
		r := retries{Backoff: b}
		for range 100 {
			if wait := r.next(contracts.RetryBackoff, 0); wait < 0 || wait > b.Cap {
				t.Fatalf("%+v: %s", b, wait)
			}
		}
	}
}

func TestARegistryCannotTalkASecureClientIntoPlainText(t *testing.T) {
	t.Parallel()
	answer := contracts.Connection{
		Primary:    contracts.Endpoint{URL: "ws://a.example.org/v1/ws?c=a"},
		Alternates: []contracts.Endpoint{{URL: "wss://b.example.org/v1/ws?c=a"}, {URL: "https://c.example.org"}, {URL: "wss://u:p@d.example.org"}, {URL: ":"}},
	}
	if got, err := usable(answer, contracts.WebSocket, true); err != nil || len(got) != 1 || got[0] != "wss://b.example.org/v1/ws?c=a" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := usable(answer, contracts.WebSocket, false); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := usable(answer, contracts.RawTCP, false); err == nil {
		t.Errorf("over raw TCP: %v", got)
	}
	answer.Alternates = nil
	if got, err := usable(answer, contracts.WebSocket, true); err == nil {
		t.Errorf("%v", got)
	}
	answer.Alternates = []contracts.Endpoint{{URL: "tcp://a.example.org:9000?c=a"}, {URL: "tls://b.example.org:9000?c=a"}, {URL: "tls://c.example.org"}}
	if got, err := usable(answer, contracts.RawTCP, true); err != nil || len(got) != 1 || got[0] != "tls://b.example.org:9000?c=a" {
		t.Errorf("over raw TCP: %v, %v", got, err)
	}
	if got, err := usable(answer, contracts.RawTCP, false); err != nil || len(got) != 2 {
		t.Errorf("over raw TCP: %v, %v", got, err)
	}
}

func TestWhatTheApplicationSaysOfBackoffWinsOverTheRegistry(t *testing.T) {
	t.Parallel()
	asked := fromRegistry(contracts.Backoff{FirstMS: 5000, BaseMS: -1, CapMS: 1 << 60})
	if want := (Backoff{First: 5 * time.Second, Cap: time.Hour}); asked != want {
		t.Errorf("%+v", asked)
	}
	got := Backoff{First: time.Second}.or(asked).withDefaults()
	if want := (Backoff{First: time.Second, Base: 250 * time.Millisecond, Cap: time.Hour, Stable: 30 * time.Second}); got != want {
		t.Errorf("%+v", got)
	}
}

func TestAServerCannotTalkASecureClientIntoPlainText(t *testing.T) {
	t.Parallel()
	u, err := parseURL("https://example.org")
	if err != nil || u.String() != "wss://example.org"+Path {
		t.Fatal(u, err)
	}
	opts, err := Options{Client: "a"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{url: u, secure: true, opts: opts}
	for raw, want := range map[string]string{
		"": "", "ws://example.org/": "", "http://example.org": "", "wss://b.example.org": "wss://b.example.org" + Path,
		"tcp://b.example.org:1": "", "tls://b.example.org:1": "tls://b.example.org:1",
	} {
		got := c.destination(raw)
		if (got == nil) != (want == "") || got != nil && got.String() != want {
			t.Errorf("%q: %v", raw, got)
		}
	}
}
