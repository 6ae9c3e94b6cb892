package usage

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

func TestABusyProcessIsSeen(t *testing.T) {
	t.Parallel()
	before, err := PID(os.Getpid()).Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, until := 0, time.Now().Add(100*time.Millisecond)
	for time.Now().Before(until) {
		n++
	}
	after, err := PID(os.Getpid()).Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if spent := after.Since(before); spent <= 0 || after.RSS <= 0 {
		t.Errorf("%d rounds took %v and %d bytes", n, spent, after.RSS)
	}
}

func TestNoCPUIsLostWithAThread(t *testing.T) {
	t.Parallel()
	before := Sample{CPU: time.Second, byThread: map[int]time.Duration{1: 500 * time.Millisecond, 2: 500 * time.Millisecond}}
	for what, test := range map[string]struct {
		after Sample
		want  time.Duration
	}{
		"all live":        {Sample{CPU: 1010 * time.Millisecond, byThread: map[int]time.Duration{1: 501 * time.Millisecond, 2: 504 * time.Millisecond}}, 5 * time.Millisecond},
		"one was born":    {Sample{CPU: 1010 * time.Millisecond, byThread: map[int]time.Duration{1: 500 * time.Millisecond, 2: 500 * time.Millisecond, 3: 7 * time.Millisecond}}, 7 * time.Millisecond},
		"one has ended":   {Sample{CPU: 1200 * time.Millisecond, byThread: map[int]time.Duration{1: 501 * time.Millisecond}}, 200 * time.Millisecond},
		"came and went":   {Sample{CPU: 1200 * time.Millisecond, byThread: map[int]time.Duration{1: 501 * time.Millisecond, 2: 501 * time.Millisecond}}, 200 * time.Millisecond},
		"no such account": {Sample{CPU: 1200 * time.Millisecond}, 200 * time.Millisecond},
	} {
		if got := test.after.Since(before); got != test.want {
			t.Errorf("%s: %v, not %v", what, got, test.want)
		}
	}
}

func TestAServerTellsOfItself(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("# HELP x y\nprocess_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 2.097152e+06\n"))
	}))
	defer s.Close()
	got, err := Admin(s.URL).Sample(t.Context())
	if err != nil || got.CPU != 1500*time.Millisecond || got.RSS != 2<<20 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Admin("http://127.0.0.1:1").Sample(t.Context()); err == nil {
		t.Error("nobody answered, and that was no error")
	}
}

func TestAProcessThatIsGoneIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := Take(t.Context(), []Process{{Name: "a1", Source: PID(1 << 30)}}); err == nil {
		t.Error("no error")
	}
}
