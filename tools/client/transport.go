package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
)

// transport carries frames. One goroutine reads, another one writes; bye and Close may be called beside both.
type transport interface {
	// next reads a frame into buf, in place of what is there. Whatever shows meanwhile that the server lives is told to alive.
	next(buf *bytes.Buffer, alive func()) error
	write(frame []byte, within time.Duration) error
	// pong answers a ping object. A frame that is being written answers it as well.
	pong()
	// bye says that this client leaves, to which the server answers by closing, too.
	bye(within time.Duration) error
	SetReadDeadline(t time.Time) error
	Close() error
}

// webSocket is a transport.
type webSocket struct {
	*websocket.Conn
	alive func() // owned by the reading goroutine
}

func newWebSocket(conn *websocket.Conn) *webSocket {
	w := &webSocket{Conn: conn}
	answer := conn.PingHandler()
	conn.SetPingHandler(func(data string) error {
		w.alive()
		return answer(data)
	})
	return w
}

func (w *webSocket) next(buf *bytes.Buffer, alive func()) error {
	w.alive = alive
	kind, r, err := w.NextReader()
	if err != nil {
		return err
	}
	buf.Reset()
	if _, err = buf.ReadFrom(r); err == nil && kind != websocket.TextMessage {
		err = errBinary
	}
	return err
}

func (w *webSocket) write(frame []byte, within time.Duration) error {
	_ = w.SetWriteDeadline(time.Now().Add(within))
	return w.WriteMessage(websocket.TextMessage, frame)
}

func (*webSocket) pong() {} // its pings are no objects

func (w *webSocket) bye(within time.Duration) error {
	text := websocket.FormatCloseMessage(int(contracts.CloseNormal), "")
	return w.WriteControl(websocket.CloseMessage, text, time.Now().Add(within))
}

// stream is a transport over raw TCP.
type stream struct {
	net.Conn
	from *bufio.Reader

	mu  sync.Mutex
	out []byte // guarded by mu: the frame that is being written
}

const (
	pongTime   = time.Second
	keptOutput = 64 << 10 // of a stream's buffer, between frames
)

func (s *stream) next(buf *bytes.Buffer, _ func()) error {
	var head [contracts.FrameHeader]byte
	if _, err := io.ReadFull(s.from, head[:]); err != nil {
		return broke(err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > contracts.MaxBundle { // more than any frame of a server
		return fmt.Errorf("the server speaks another protocol: it sent %q, which is no length of a frame", head[:])
	}
	buf.Reset()
	_, err := io.CopyN(buf, s.from, int64(size))
	return broke(err)
}

// broke says in words that the connection ended without any.
func broke(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the connection broke: %w", err)
	}
	return err
}

func (s *stream) write(frame []byte, within time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(frame, within)
}

// put writes a frame in one piece. mu is held. After a part of one nothing can follow.
func (s *stream) put(frame []byte, within time.Duration) error {
	s.out = contracts.AppendFrame(s.out[:0], frame)
	_ = s.SetWriteDeadline(time.Now().Add(within))
	n, err := s.Conn.Write(s.out)
	if err != nil && n > 0 {
		_ = s.Close()
	}
	if cap(s.out) > keptOutput {
		s.out = nil
	}
	return err
}

func (s *stream) pong() {
	if s.mu.TryLock() {
		defer s.mu.Unlock()
		answer := contracts.AppendPong(nil, contracts.Request{})
		_ = s.put(answer[:len(answer)-1], pongTime) // reading shows what is wrong
	}
}

func (s *stream) bye(time.Duration) error {
	half, ok := s.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// overTCP tells whether an address is one for raw TCP.
func overTCP(target string) bool { return contracts.TransportOf(target) == contracts.RawTCP }

// dialTCP connects over raw TCP, and shows the ticket that the address has, if any.
func (c *Client) dialTCP(ctx context.Context, target string) (transport, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	dial := c.opts.NetDial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "tls" {
		if conn, err = c.encrypt(ctx, conn, u.Hostname()); err != nil {
			return nil, err
		}
	}
	s := &stream{Conn: conn, from: bufio.NewReader(conn)}
	if u.RawQuery != "" {
		if err := s.write(contracts.AppendTicketFrame(nil, contracts.TicketFrame{Ticket: u.RawQuery}), c.opts.WriteTime); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("show the ticket: %w", err)
		}
	}
	return s, nil
}

// encrypt shakes hands over conn, which it closes if that fails.
func (c *Client) encrypt(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.opts.TLS != nil {
		cfg = c.opts.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, nil
}
