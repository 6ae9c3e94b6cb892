package edge

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	streamBuffer = 16 << 10    // read at a time, where none is held while there is nothing to read
	refusalTime  = time.Second // for a client to read why it is not let in
	mostRefused  = 64          // clients at a time that get to read it; more are closed without a word
)

var streamFraming = &framing{header: lengthHeader, ping: contracts.AppendFrame(nil, bytes.TrimSuffix(contracts.AppendPing(nil), []byte("\n")))}

// lengthHeader is the header of a frame over raw TCP; see framing.
func lengthHeader(buf []byte) int {
	const at = headroom - contracts.FrameHeader
	binary.BigEndian.PutUint32(buf[at:], uint32(len(buf)-headroom))
	return at
}

// TakeTCP serves a client over raw TCP, or tells it why not, and does not wait. What limits connections over WebSocket limits these
// too, together with them.
func (e *Edge) TakeTCP(conn net.Conn) {
	in := e.enter()
	if in.crowded && in.refused == "" { // over raw TCP nobody says before who it is
		in.refused, in.code = tooManyStrangers, contracts.CloseOverload
	}
	if in.refused == "" {
		go e.stream(conn)
		return
	}
	e.turnAway()
	select {
	case e.refusing <- struct{}{}:
		if e.spawn(func() { e.refuse(conn, in); <-e.refusing }) {
			return
		}
		<-e.refusing
	default:
	}
	_ = conn.Close()
}

// refuse tells a client why it is not let in, and gives it time to read that.
func (e *Edge) refuse(conn net.Conn, why entry) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(refusalTime))
	said := contracts.AppendRefusal(nil, &contracts.Error{Code: contracts.CodeUnavailable, Message: why.refused}, why.code)
	if _, err := conn.Write(said); err == nil && closeWrite(conn) == nil {
		_, _ = io.Copy(io.Discard, conn) // what is unread would reset the connection
	}
}

// stream is a [connection] over raw TCP.
type stream struct {
	framed
	up atomic.Bool // it can be written to: TLS has shaken hands

	// owned by the reading goroutine
	heard time.Time          // when the deadline of the client's silence was last set
	small []byte             // what the connection itself reads into; nil: it is read from directly
	read  func(uintptr) bool // reads directly, once there is something; made once
	buf   *[]byte            // what that has read into
	n     int
	err   error
}

var _ connection = (*stream)(nil)

// stream serves a connection that was let in, until it ends.
func (e *Edge) stream(conn net.Conn) {
	c := &stream{framed: framed{edge: e, wire: newWire(conn, streamFraming)}}
	secure, _ := conn.(*tls.Conn)
	c.up.Store(secure == nil)
	s := newSession(e, c)
	defer s.disconnected()
	defer c.Cut()
	if e.draining.Load() { // since it was let in
		s.end(contracts.CloseRestart, "this node restarts")
	}
	if secure != nil && !c.shakeHands(secure) {
		return
	}
	c.prepare()
	if err := c.frames(); errors.Is(err, io.EOF) { // the client has closed: it hears that this was understood, or why it was ended
		code, reason := s.ended()
		_ = c.last(code, reason, time.Second)
		_ = closeWrite(conn)
	}
}

// shakeHands does what TLS needs before anything else, within the time to log in: the session's end cuts it off. It is done on
// a goroutine of its own: cryptography takes a deep stack, which this one would keep while the client stays.
func (c *stream) shakeHands(secure *tls.Conn) bool {
	done := make(chan error, 1)
	go func() { done <- secure.HandshakeContext(c.edge.ctx) }()
	ok := <-done == nil
	c.up.Store(ok)
	return ok
}

// frames works off what comes, until nothing more does.
func (c *stream) frames() error {
	var (
		s       = c.wire.session
		cutter  = contracts.FrameCutter{Max: c.edge.cfg.MaxFrame}
		came    []byte
		refused *contracts.Error
		heard   = true
		first   = true
	)
	take := func(frame []byte) {
		heard = true // half a frame does not count: it is not to keep its memory for long
		if first {
			first = false
			if isTicket(frame) {
				return
			}
		}
		s.handleWithin(frame)
	}
	cut := func() { refused = cutter.Cut(came, take) }
	for {
		if heard {
			c.hear()
		}
		var err error
		if came, err = c.next(); err != nil {
			return err
		}
		if refused != nil || !s.goesOn() {
			continue // it was told why; what it goes on to send is read only to get at its end
		}
		heard = false
		c.edge.burst(cut) // the answers to all that came at once go out together
		came = nil        // not to be kept while nothing more comes
		if refused != nil {
			s.refuse(&contracts.Request{}, refused)
			s.end(contracts.CloseTooBig, "a frame over the limit")
		}
	}
}

// isTicket tells whether a client's first frame is what the registry has it show a gateway: who is sent straight to an edge shows
// it too, and it is passed over here as the query of a WebSocket's address is.
func isTicket(frame []byte) bool {
	_, bad := contracts.DecodeTicketFrame(frame)
	return bad == nil
}

// hear gives the client another heartbeat and a fifth. It does not do so for each of many frames: to move a deadline takes as
// long as to work off a small one.
func (c *stream) hear() {
	now := time.Now()
	if now.Sub(c.heard) < c.edge.cfg.Heartbeat/50 || !c.wire.session.goesOn() {
		return
	}
	c.heard = now
	_ = c.wire.SetReadDeadline(now.Add(c.edge.cfg.Heartbeat + c.edge.cfg.Heartbeat/5))
}

var streamBuffers = sync.Pool{New: func() any { b := make([]byte, streamBuffer); return &b }}

// prepare chooses how to read. A PROXY header is read by the connection itself, together with at most 4 KiB of what follows it.
func (c *stream) prepare() {
	c.read = c.readNow
	_, plain := c.wire.Conn.(*net.TCPConn)
	switch {
	case c.wire.raw == nil:
		c.small = make([]byte, 512)
	case !plain:
		c.small = make([]byte, 4<<10)
	}
}

// next returns what has come, once there is something. It is the caller's: what a request keeps of it stays as it is.
func (c *stream) next() ([]byte, error) {
	if c.small != nil {
		n, err := c.wire.Conn.Read(c.small)
		if n == 0 {
			return nil, err
		}
		came := bytes.Clone(c.small[:n])
		if c.wire.raw != nil { // the header is behind it
			c.small = nil
		}
		return came, nil
	}
	if err := c.wire.raw.Read(c.read); err != nil {
		return nil, err
	}
	came, err := bytes.Clone((*c.buf)[:c.n]), c.err
	streamBuffers.Put(c.buf)
	c.buf = nil
	if err == nil && len(came) == 0 {
		err = io.EOF
	}
	return came, err
}

// readNow reads what there is, and returns false if there is nothing yet: then no buffer is held.
func (c *stream) readNow(fd uintptr) bool {
	c.buf = streamBuffers.Get().(*[]byte)
	c.n, c.err = readDirectly(fd, *c.buf)
	if !errors.Is(c.err, syscall.EAGAIN) {
		return true
	}
	streamBuffers.Put(c.buf)
	c.buf = nil
	return false
}

// last writes the object that ends the connection.
func (c *stream) last(code contracts.CloseCode, reason string, wait time.Duration) error {
	object := contracts.AppendClose(nil, contracts.Close{Code: code, Reason: reason})
	return c.wire.whole(contracts.AppendFrame(nil, object[:len(object)-1]), true, wait)
}

// Close says why, and that nothing more comes; then the client gets time to close, too. Else what it sent meanwhile would be
// unread, so that the kernel resets the connection, and the object may be lost with it. The session's own deadline bounds this.
func (c *stream) Close(code contracts.CloseCode, reason string) {
	if !c.up.Load() {
		c.Cut()
		return
	}
	c.edge.work.Go(func() {
		err := c.last(code, reason, c.edge.cfg.WriteTime)
		switch {
		case errors.Is(err, errCloseSent):
			return // it was closed already, and the client has its time
		case err != nil || closeWrite(c.wire.Conn) != nil:
			c.Cut()
			return
		}
		_ = c.wire.SetReadDeadline(time.Now().Add(min(closeAnswer, c.edge.cfg.WriteTime)))
	})
}

// closeWrite says that nothing more is written.
func closeWrite(conn net.Conn) error {
	if tcp, ok := tcpOf(conn); ok {
		return tcp.CloseWrite()
	}
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.CloseWrite()
	}
	return errors.ErrUnsupported
}
