package tests

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// These promises take hours to keep, and are kept in fake time.

func TestQuietClientsStayForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fleet.Bubble(t, 2)
		alice, bob := f.Dial(0, "alice"), f.Dial(1, "bob")
		if e, err := alice.TryNext(time.Hour); !errors.Is(err, fleet.ErrSilent) {
			t.Fatalf("got %+v, %v", e, err)
		}
		if got := alice.Send("bob", `"still there?"`); got != "delivered" {
			t.Fatal(got)
		}
		bob.Expect("alice", `"still there?"`)
	})
}

func TestSilentClientIsCutOffWithinThirtySeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fleet.Bubble(t, 2)
		alice, bob := f.Dial(0, "alice"), f.Dial(1, "bob")
		bob.WS().SetPingHandler(func(string) error { return nil }) // the client's host is gone
		start := time.Now()
		if code := bob.ClosedWithin(time.Minute); code != websocket.CloseAbnormalClosure {
			t.Fatalf("closed with %d", code)
		}
		if d := time.Since(start); d > contracts.DefaultHeartbeat*6/5+time.Second {
			t.Fatalf("cut off after %v", d)
		}
		fleet.Eventually(t, "bob is offline", func() bool { return alice.Send("bob", `1`) == "offline" })
	})
}

func TestLogInHasADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fleet.Bubble(t, 1)
		c := f.Connect(0, nil)
		start := time.Now()
		if code := c.Closed(); code != int(contracts.CloseUnauthorized) {
			t.Fatalf("closed with %d", code)
		}
		if d := time.Since(start); d < 4*time.Second || d > 6*time.Second {
			t.Fatalf("closed after %v", d)
		}
	})
}
