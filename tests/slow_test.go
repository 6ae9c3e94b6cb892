package tests

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// stopReading connects a client that logs in and then does not read.
func stopReading(t *testing.T, f *fleet.Fleet, i int, name string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{contracts.Subprotocol}}
	ws, resp, err := d.DialContext(t.Context(), f.Nodes[i].URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	_ = ws.WriteMessage(websocket.TextMessage, []byte(`{"auth":{"client":"`+name+`"}}`))
	if _, m, err := ws.ReadMessage(); err != nil || !strings.Contains(string(m), "ready") {
		t.Fatal(err, string(m))
	}
	return ws
}

// stopReadingTCP is stopReading over raw TCP.
func stopReadingTCP(t *testing.T, f *fleet.Fleet, i int, name string) *net.TCPConn {
	t.Helper()
	c := rawTCP(t, f, i, auth(name))
	frame(t, c, `"ready"`)
	return c
}

func TestSlowReaderIsClosedWith4408AndNothingIsLostUncounted(t *testing.T) {
	t.Parallel()
	// Each connects, and returns what reads the next frame. The error at the end is a websocket.CloseError.
	for name, connect := range map[string]func(*testing.T, *fleet.Fleet) func() (string, error){
		"WebSocket": func(t *testing.T, f *fleet.Fleet) func() (string, error) {
			t.Helper()
			ws := stopReading(t, f, 1, "slow")
			return func() (string, error) {
				_ = ws.SetReadDeadline(time.Now().Add(fleet.Patience))
				_, m, err := ws.ReadMessage()
				return string(m), err
			}
		},
		"TCP": func(t *testing.T, f *fleet.Fleet) func() (string, error) {
			t.Helper()
			c := stopReadingTCP(t, f, 1, "slow")
			return func() (string, error) {
				_ = c.SetReadDeadline(time.Now().Add(fleet.Patience))
				b, err := fleet.ReadFrame(c)
				if e, bad := contracts.DecodeEvent(b); err == nil && bad == nil && e.Close != nil {
					return "", &websocket.CloseError{Code: int(e.Close.Code)}
				}
				return string(b), err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slowReaderIsClosed(t, connect)
		})
	}
}

func slowReaderIsClosed(t *testing.T, connect func(*testing.T, *fleet.Fleet) func() (string, error)) {
	t.Helper()
	const queue = 256 << 10
	f := fleet.New(t, 2, fleet.Configure(func(c *node.Config) {
		c.Edge.QueueBytes = queue
		c.Edge.AckTimeout = 500 * time.Millisecond // what waits for the slow reader is unknown to its sender
		c.Edge.WriteTime = 2 * fleet.Patience
	}))
	alice, bob := f.Dial(0, "alice"), f.Dial(1, "bob")
	next := connect(t, f)
	data := `"` + strings.Repeat("x", 30<<10) + `"`
	outcomes := map[string]int{}
	sent := 0
	for outcomes["offline"] == 0 { // until the node has let go of it
		if sent++; sent > 1000 {
			t.Fatal("the slow reader is still there:", outcomes)
		}
		outcomes[alice.Send("slow", data)]++
		if got := alice.Send("bob", fmt.Sprint(sent)); got != "delivered" {
			t.Fatal("another recipient on the node:", got)
		}
		bob.Expect("alice", fmt.Sprint(sent))
	}
	if outcomes["unavailable"]+outcomes["unknown"] == 0 {
		t.Fatalf("the queue never was full: %v", outcomes)
	}
	closes := f.Nodes[1].Value("beeline_edge_closes_total")
	if closes < 1 {
		t.Fatal("nothing was closed")
	}
	// When it reads again in time, it gets what was under way, and is told why it is closed.
	received := 0
	for {
		m, err := next()
		if err != nil {
			if !websocket.IsCloseError(err, int(contracts.CloseSlow)) {
				t.Errorf("the slow reader was closed with %v, not 4408", err)
			}
			break
		}
		received += strings.Count(m, `"msg"`)
	}
	if received < outcomes["delivered"] {
		t.Errorf("%d messages were answered delivered, and %d arrived", outcomes["delivered"], received)
	}
}
