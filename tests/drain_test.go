package tests

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/tests/fleet"
)

func TestStoppingNodeTellsItsClientsToMove(t *testing.T) {
	t.Parallel()
	const clients, over = 100, 2 * time.Second
	f := fleet.New(t, 2, fleet.Configure(func(c *node.Config) { c.DrainTime = over }))
	alice := f.Dial(0, "alice")
	var bobs []*fleet.Client
	for i := range clients {
		bobs = append(bobs, f.Dial(1, contracts.ClientID(fmt.Sprint("bob-", i))))
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.Nodes[1].Stop(t)
	}()
	for _, b := range bobs {
		if e := b.Next(); e.Moving == nil || e.Moving.WithinMS != over.Milliseconds() {
			t.Fatalf("got %+v", e)
		}
	}
	// Those that are still there are still served.
	if got := alice.Send("bob-0", `1`); got != "delivered" && got != "offline" {
		t.Error("while the node drains:", got)
	}
	base := strings.TrimSuffix(strings.Replace(f.Nodes[1].URL(), "ws://", "http://", 1), node.ClientPath)
	if code := get(t, base+"/readyz"); code != http.StatusServiceUnavailable {
		t.Error("readyz says", code)
	}
	if code := get(t, base+"/healthz"); code != http.StatusOK {
		t.Error("healthz says", code)
	}
	if _, status, err := f.TryConnect(1, nil); err == nil || status != http.StatusServiceUnavailable {
		t.Error("a new connection was not refused with 503:", err)
	}
	start, ended := time.Now(), make([]time.Duration, 0, clients)
	for _, b := range bobs {
		if code := b.Closed(); code != int(contracts.CloseRestart) {
			t.Errorf("closed with %d", code)
		}
		ended = append(ended, time.Since(start))
	}
	<-stopped
	if last := ended[len(ended)-1]; last < over/2 {
		t.Errorf("all were closed within %v, not spread over %v", last, over)
	}
	if got := alice.Send("bob-0", `2`); got != "offline" {
		t.Error("afterwards:", got)
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

func TestClientThatDoesNotReadDoesNotHoldUpTheStop(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) {
		c.StopTime = 2 * time.Second
		c.Edge.QueueBytes = 64 << 20
		c.Edge.AckTimeout = 50 * time.Millisecond
	}))
	alice := f.Dial(0, "alice")
	stopReading(t, f, 0, "slow")
	data := `"` + strings.Repeat("x", 60<<10) + `"`
	for alice.Send("slow", data) == "delivered" { // until the kernel takes no more
	}
	start := time.Now()
	f.Nodes[0].Stop(t)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the stop took %v", d)
	}
}

func TestSecondNodeWithTheSameIDRefusesToStart(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	start := time.Now()
	if _, err := f.TryStart(0); !errors.Is(err, presence.ErrNodeTaken) {
		t.Fatal("the second node got", err)
	}
	if d := time.Since(start); d > contracts.LeaseTTL {
		t.Errorf("it took %v to refuse", d)
	}
	// The first one is unharmed, and its id is free again when it stops.
	alice, bob := f.Dial(1, "alice"), f.Dial(0, "bob")
	if got := alice.Send("bob", `1`); got != "delivered" {
		t.Fatal(got)
	}
	bob.Expect("alice", `1`)
	f.Nodes[0].Stop(t)
	var closed *websocket.CloseError
	if _, err := bob.TryNext(fleet.Patience); !errors.As(err, &closed) && err != nil {
		t.Log("bob:", err)
	}
	f.Start(0)
	bob = f.Dial(0, "bob")
	if got := alice.Send("bob", `2`); got != "delivered" {
		t.Fatal(got)
	}
	bob.Expect("alice", `2`)
}
