package calls

import (
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestWhatManyThatAreGoneHadIsGivenUpTogether(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, r *rig) {
		t.Helper()
		const starts = 1000
		var had []parcel
		for e := range contracts.Epoch(starts) {
			r.start(e + 1)
			r.bus.take() // the question whether the one before it lives
			p, _ := r.gets(t, "each", e+1)
			had = append(had, p)
		}
		if n := r.former(); n != starts-1 {
			t.Fatalf("%d starts have calls", n)
		}
		<-time.After(lastWords + watchTick)
		r.bus.take()
		r.bus.mu.Lock()
		if r.bus.abandons > 3 || len(r.bus.abandoned) < starts-1 {
			t.Errorf("%d were given up, one by one: %d", len(r.bus.abandoned), r.bus.abandons)
		}
		r.bus.mu.Unlock()
		for _, p := range had {
			p.w.Ended(nil, contracts.StatusUnsure)
		}
		<-time.After(2 * watchTick)
		if n := r.former(); n != 0 {
			t.Errorf("%d starts are remembered", n)
		}
	})
}
