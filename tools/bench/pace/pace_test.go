package pace

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestNothingIsSentBeforeItIsDue(t *testing.T) {
	t.Parallel()
	start := time.Now()
	now := func() int64 { return int64(time.Since(start)) }
	for _, s := range []Schedule{{Rate: 2000}, {Rate: 2000, Burst: 10}, {Rate: 2000, Alone: true}} {
		start = time.Now()
		n := uint64(0)
		err := s.Run(t.Context(), now, int64(50*time.Millisecond), func(k uint64, due int64) error {
			if k != n || now() < due || due != s.Due(k) {
				t.Errorf("%+v: message %d at %d, due at %d", s, k, now(), due)
			}
			n++
			return nil
		})
		if err != nil || n != 100 {
			t.Errorf("%+v: %d were sent: %v", s, n, err)
		}
	}
}

func TestABurstIsDueAtOnce(t *testing.T) {
	t.Parallel()
	s := Schedule{Rate: 1000, Burst: 10}
	if s.Due(9) != 0 || s.Due(10) != int64(10*time.Millisecond) || s.Due(19) != s.Due(10) {
		t.Errorf("%d %d %d", s.Due(9), s.Due(10), s.Due(19))
	}
}

func TestItEndsWithItsContext(t *testing.T) {
	t.Parallel()
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	start := time.Now()
	err := Schedule{Rate: 0.01}.Run(ctx, func() int64 { return int64(time.Since(start)) }, int64(time.Hour), func(uint64, int64) error {
		cancel(reason)
		return nil
	})
	if !errors.Is(err, reason) {
		t.Error(err)
	}
}
