package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// streamBubble runs a test of raw TCP over pipes, in fake time. dial logs a client in.
func streamBubble(t *testing.T, test func(t *testing.T, e *Edge, dial func(name string) net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &directoryFake{restored: make(chan struct{}, 1), records: map[contracts.Address]map[contracts.SessionID]contracts.Entry{}}
		e := New(DefaultConfig(), Options{Cluster: "a", Node: "a1", Epoch: 1, Directory: d, Auth: byToken{}, Blip: time.Second})
		e.Start(t.Context(), &readyCourier{})
		test(t, e, func(name string) net.Conn {
			client, server := net.Pipe()
			t.Cleanup(func() { _ = client.Close() })
			e.TakeTCP(server)
			if name != "" {
				_, _ = client.Write(contracts.AppendFrame(nil, contracts.AppendAuth(nil, contracts.Auth{Token: name})))
				if got, err := readTCP(client); err != nil || !strings.Contains(string(got), "ready") {
					t.Fatalf("%q, %v", got, err)
				}
			}
			return client
		})
		e.Close(context.WithoutCancel(t.Context()))
	})
}

func TestSilentTCPClientIsCutAndOneThatAnswersIsNot(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer string // to a ping; empty: none
		half   bool   // a byte of a frame that never ends, each second
		stays  bool
	}{
		"answers":             {answer: `{"pong":{}}`, stays: true},
		"says something else": {answer: `{"ping":{}}`, stays: true},
		"says nothing":        {},
		"half a frame":        {half: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			streamBubble(t, func(t *testing.T, e *Edge, dial func(string) net.Conn) {
				t.Helper()
				c := dial("ann")
				start := time.Now()
				var trickle sync.WaitGroup
				defer trickle.Wait()
				if test.half {
					trickle.Go(func() {
						_, err := c.Write([]byte{0, 0, 0xff, 0})
						for err == nil {
							<-time.After(time.Second)
							_, err = c.Write([]byte{' '})
						}
					})
				}
				pings := 0
				for time.Since(start) < 10*e.cfg.Heartbeat {
					_ = c.SetReadDeadline(start.Add(10 * e.cfg.Heartbeat))
					got, err := readTCP(c)
					if err != nil {
						break
					}
					if strings.Contains(string(got), `{"ping":{}}`) {
						pings++
						if test.answer != "" {
							_, _ = c.Write(contracts.AppendFrame(nil, []byte(test.answer)))
						}
					}
				}
				lasted := time.Since(start)
				if pings == 0 || test.stays != (lasted == 10*e.cfg.Heartbeat) {
					t.Errorf("cut after %v and %d pings", lasted, pings)
				}
				if want := e.cfg.Heartbeat + e.cfg.Heartbeat/5; !test.stays && (lasted > want || lasted < want*9/10) {
					t.Errorf("cut after %v", lasted)
				}
			})
		})
	}
}

func TestTCPClientThatDoesNotLogInIsToldAndCut(t *testing.T) {
	t.Parallel()
	streamBubble(t, func(t *testing.T, e *Edge, dial func(string) net.Conn) {
		t.Helper()
		c := dial("")
		start := time.Now()
		got, err := readTCP(c)
		if err != nil || !strings.HasPrefix(string(got), `{"close":{"code":4401,`) || time.Since(start) != e.cfg.AuthTimeout {
			t.Errorf("after %v: %q, %v", time.Since(start), got, err)
		}
		if _, err := readTCP(c); !errors.Is(err, io.EOF) {
			t.Errorf("then %v", err)
		}
	})
}

// A client shows the ticket of its address, and the registry may send it straight here.
func TestTicketBeforeTheLogInIsPassedOverOverTCP(t *testing.T) {
	t.Parallel()
	const ticket = `{"ticket":"c=a&k=room&n=ann&e=1800000060&s=x"}`
	streamBubble(t, func(t *testing.T, _ *Edge, dial func(string) net.Conn) {
		t.Helper()
		c := dial("")
		say := func(frame string) { _, _ = c.Write(contracts.AppendFrame(nil, []byte(frame))) }
		say(ticket)
		say(string(contracts.AppendAuth(nil, contracts.Auth{Token: "ann"})))
		if got, err := readTCP(c); err != nil || !strings.HasPrefix(string(got), `{"ready"`) {
			t.Errorf("%q, %v", got, err)
		}
		say(ticket)
		if got, err := readTCP(c); err != nil || !strings.Contains(string(got), `"bad_request"`) {
			t.Errorf("the second frame: %q, %v", got, err)
		}
	})
}
