package presence

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTrustReturnsALifeAfterTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tr trust
		expect := func(want bool) {
			t.Helper()
			if got, _ := tr.look(); got != want {
				t.Errorf("trusted: %v", got)
			}
		}
		expect(true)
		if !tr.lose(0) || tr.lose(0) || !tr.isLost() {
			t.Error("the lease is not lost once")
		}
		<-time.After(time.Hour)
		expect(false)
		tr.regain(time.Second)
		if tr.lose(0) || tr.isLost() { // a reply from before
			t.Error("the lease is lost again by an old reply")
		}
		<-time.After(time.Second - 1)
		expect(false)
		<-time.After(1)
		expect(true)
		if !tr.lose(1) {
			t.Error("the lease cannot be lost again")
		}
		expect(false)
	})
}
