//go:build unix

package edge

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// cutShort takes one byte and then nothing.
type cutShort struct{ *net.TCPConn }

func (c cutShort) Write(b []byte) (int, error) {
	n, _ := c.TCPConn.Write(b[:1])
	return n, os.ErrDeadlineExceeded
}

func TestNothingFollowsHalfAControlFrame(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(server, webSocketFraming)
	if w.raw == nil {
		t.Fatal("nothing is written directly: the test shows nothing")
	}
	w.Conn = cutShort{server.(*net.TCPConn)}
	_ = w.control(websocket.PongMessage, []byte("hello"), time.Second)
	w.write(append(make([]byte, headroom), "data"...), time.Second, func(f func()) { f() }, func(error) {})
	_ = server.Close()
	got := make([]byte, 64)
	n := 0
	for err = nil; err == nil; {
		var m int
		m, err = client.Read(got[n:])
		n += m
	}
	if n != 1 {
		t.Errorf("the client got % x: something follows half a pong", got[:n])
	}
}
