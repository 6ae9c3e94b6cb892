package fleet

import (
	bigendian "encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
)

// DialTCP connects a client by name to node i over raw TCP, and returns when it is ready.
func (f *Fleet) DialTCP(i int, name contracts.ClientID) *Client {
	f.t.Helper()
	c := f.ConnectTCP(i)
	c.Login(name)
	return c
}

// ConnectTCP opens a connection to node i over raw TCP without logging in.
func (f *Fleet) ConnectTCP(i int) *Client {
	f.t.Helper()
	return ConnectTCP(f.t, f.Nodes[i].TCPURL())
}

// ConnectTCP opens a connection to any tcp:// address, or to a host and port.
func ConnectTCP(tb testing.TB, address string) *Client {
	tb.Helper()
	conn, err := dialTCP(tb.Context(), "tcp", strings.TrimPrefix(address, "tcp://"))
	if err != nil {
		tb.Fatalf("connect to %s: %v", address, err)
	}
	c := &Client{t: tb, tcp: conn, lines: make(chan []byte, 1<<16)}
	c.start(conn, func() ([]byte, error) { return ReadFrame(conn) })
	return c
}

// ReadFrame reads one frame over raw TCP.
func ReadFrame(from io.Reader) ([]byte, error) {
	var head [contracts.FrameHeader]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, bigendian.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(from, frame)
	return frame, err
}

// TCP is the connection over raw TCP, for what the protocol does not say; nil over WebSocket.
func (c *Client) TCP() net.Conn { return c.tcp }

// control does what a WebSocket library does by itself: it answers the server's ping, and makes an error of the object that ends
// the connection. It returns whether line is of either kind.
func (c *Client) control(line []byte) (bool, error) {
	if c.tcp == nil {
		return false, nil
	}
	e, err := contracts.DecodeEvent(line)
	switch {
	case err == nil && e.Ping != nil:
		return true, c.TryRaw(`{"pong":{}}`)
	case err == nil && e.Close != nil:
		return true, &websocket.CloseError{Code: int(e.Close.Code), Text: e.Close.Reason}
	}
	return false, nil
}
