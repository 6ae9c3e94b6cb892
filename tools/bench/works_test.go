package bench

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs a work against a fake.
func run(t *testing.T, w Work, f *fake) *Result {
	t.Helper()
	env := Env{Driver: f, URLs: []string{"ws://127.0.0.1:1", "ws://127.0.0.1:2"}}
	if err := w.Validate(env); err != nil {
		t.Fatal(err)
	}
	r, err := w.Run(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for _, n := range r.Outcomes {
		sum += n
	}
	if sum != r.Sent || r.Sent == 0 {
		t.Errorf("%d sent, but the outcomes %v", r.Sent, r.Outcomes)
	}
	return r
}

// small is a run of 300 messages.
var small = Direct{Pairs: 3, Size: 64, Rate: 1000, Burst: 1, Warm: 100 * time.Millisecond, For: 200 * time.Millisecond}

func TestAGoodRunAddsUp(t *testing.T) {
	t.Parallel()
	window := small
	window.Rate, window.Window = 0, 2
	batch := window
	batch.Batch = true
	for _, w := range []Work{small, window, batch, Fanout{Members: 5, Size: 64, Rate: 500, Warm: 50 * time.Millisecond, For: 100 * time.Millisecond}} {
		r := run(t, w, newFake())
		if len(r.Broken) > 0 || r.Figures["delivered_per_s"] <= 0 || r.Figures["latency_p50_ms"] <= 0 || r.Figures["answer_max_ms"] <= 0 {
			t.Errorf("%s: %+v", w.Name(), r)
		}
	}
}

func TestTheWarmUpIsSentAndNotMeasured(t *testing.T) {
	t.Parallel()
	f, slow := newFake(), time.Now().Add(60*time.Millisecond)
	f.onSend = func(uint64) { // slow at first
		for time.Now().Before(slow) {
			<-time.After(time.Millisecond)
		}
	}
	r := run(t, small, f)
	if r.Sent != 300 || r.Figures["latency_max_ms"] > 50 {
		t.Errorf("%d sent, the slowest took %v ms", r.Sent, r.Figures["latency_max_ms"])
	}
}

func TestAStallIsChargedForAllThatItHeldUp(t *testing.T) {
	t.Parallel()
	const stall = 150 * time.Millisecond
	f := newFake()
	f.onSend = func(id uint64) {
		if id == 50 { // each of three pairs in turn: 150 ms after the start
			<-time.After(stall / 3)
		}
	}
	r := run(t, small, f)
	// Three quarters of the two hundred measured messages were due during the stall.
	if r.Figures["latency_max_ms"] < 135 || r.Figures["late_p50_ms"] < 5 || r.Figures["latency_p99_ms"] < 90 {
		t.Errorf("the stall was forgiven: %v", r.Figures)
	}
}

// stepwise is a closed loop in which each message takes a millisecond, for fake time: a pacer sleeps in the kernel, which
// knows of no fake.
func stepwise(f *fake) Work {
	f.onSend = func(uint64) { <-time.After(time.Millisecond) }
	return Direct{Pairs: 3, Size: 64, Window: 2, Warm: 10 * time.Millisecond, For: 30 * time.Millisecond}
}

func TestWhatHasNoAnswerBreaksTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.silent = func(id uint64) bool { return id == 1 }
		r := run(t, stepwise(f), f)
		if r.Outcomes[unanswered] != 3 || len(r.Broken) != 1 || !strings.Contains(r.Broken[0], "have no answer") {
			t.Errorf("%+v", r)
		}
	})
}

func TestWhatIsLostDoubledOrLateBreaksTheRun(t *testing.T) {
	t.Parallel()
	for word, wrong := range map[string]func(*fake){
		"did not arrive": func(f *fake) { f.copies = func(id uint64) int { return int(min(id, 1)) } },
		"more than once": func(f *fake) { f.copies = func(id uint64) int { return 2 - int(min(id, 1)) } },
		"out of order":   func(f *fake) { f.swap = true },
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				wrong(f)
				if r := run(t, stepwise(f), f); len(r.Broken) != 1 || !strings.Contains(r.Broken[0], word) {
					t.Errorf("%v", r.Broken)
				}
			})
		})
	}
}

func TestOtherOutcomesAreToldByTheirNames(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.outcome = func(id uint64) string {
		if id%2 == 1 {
			return "offline"
		}
		return ""
	}
	if r := run(t, small, f); r.Outcomes["offline"] != 150 || r.Outcomes[Delivered] != 150 {
		t.Errorf("%v", r.Outcomes)
	}
}
