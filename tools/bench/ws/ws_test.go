package ws_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/tools/bench/ws"
)

// dial connects to a server that does what serve does with a connection.
func dial(t *testing.T, serve func(*websocket.Conn)) (*ws.Conn, error) {
	t.Helper()
	upgrader := websocket.Upgrader{Subprotocols: []string{"x"}, WriteBufferSize: 64} // so that large messages are fragmented
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r, nil); err == nil {
			defer c.Close()
			serve(c)
		}
	}))
	t.Cleanup(s.Close)
	return ws.Dial(t.Context(), ws.Options{URL: "ws" + strings.TrimPrefix(s.URL, "http"), Subprotocol: "x", Buffer: 16})
}

func TestMessagesOfEverySizeComeBack(t *testing.T) {
	t.Parallel()
	c, err := dial(t, func(c *websocket.Conn) {
		for {
			kind, b, err := c.ReadMessage()
			if err != nil {
				return
			}
			_ = c.WriteControl(websocket.PingMessage, []byte("!"), time.Time{})
			_ = c.WriteMessage(kind, b)
			w, err := c.NextWriter(kind) // fragmented, as its buffer is small
			if err != nil {
				return
			}
			_, _ = w.Write(b)
			_ = w.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Cut()
	for _, n := range []int{0, 1, 7, 8, 125, 126, 1000, 65535, 65536, 200_000} {
		want := strings.Repeat("a", n)
		if err := c.Write([]byte(want)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := c.Read(); err != nil || string(got) != want {
				t.Fatalf("%d bytes came back as %d: %v", n, len(got), err)
			}
		}
	}
}

func TestACloseSaysWhy(t *testing.T) {
	t.Parallel()
	c, err := dial(t, func(c *websocket.Conn) {
		_ = c.WriteMessage(websocket.TextMessage, []byte("last"))
		_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4408, "slow"), time.Time{})
		_, _, _ = c.ReadMessage()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Cut()
	if b, err := c.Read(); string(b) != "last" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	var closed *ws.CloseError
	if _, err := c.Read(); !errors.As(err, &closed) || closed.Code != 4408 || closed.Reason != "slow" {
		t.Error(err)
	}
}

func TestAGoodByeIsHeard(t *testing.T) {
	t.Parallel()
	heard := make(chan error, 1)
	c, err := dial(t, func(c *websocket.Conn) {
		_, _, err := c.ReadMessage()
		heard <- err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Cut()
	if err := c.Bye(); err != nil {
		t.Fatal(err)
	}
	if err := <-heard; !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Error(err)
	}
}

func TestWhoDoesNotSpeakTheProtocolIsRefused(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "full", http.StatusServiceUnavailable) }))
	defer s.Close()
	var refused *ws.RefusedError
	_, err := ws.Dial(t.Context(), ws.Options{URL: "ws" + strings.TrimPrefix(s.URL, "http")})
	if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || refused.Text != "full" {
		t.Error(err)
	}
}
