package edge

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// wire is the connection under a WebSocket, or under frames over raw TCP. If it can be, frames are written to it directly and
// without waiting: no goroutine is woken for a write that the kernel takes at once, which is nearly all. What the kernel does
// not take is left to a goroutine that ends with it. melody and gorilla then only read: melody's writing goroutine is sent home with the first
// thing that it is given to write, a close frame that goes nowhere. (Kept, it takes 3 KiB for each connection.)
//
// To a TLS connection, and to what is no TCP at all, melody and gorilla write, as they always do. Over raw TCP there is neither:
// then each write is left to such a goroutine.
type wire struct {
	net.Conn // for reading, and for writing what may wait

	// set once
	framing *framing
	raw     syscall.RawConn // nil: nothing is written directly
	who     *Identity       // of the request itself, until there is a session
	session *Session

	deadline atomic.Int64 // of what gorilla writes, in Unix nanoseconds; 0: none

	idle atomic.Bool // melody and gorilla do not write

	mu     sync.Mutex // held while a frame is being written
	closed bool       // a close frame was written: nothing may follow it

	// of the direct write under way; guarded by mu
	buf  []byte
	n    int
	err  error
	once func(fd uintptr) bool // made once, so that a write allocates nothing
}

// framing is how frames stand on a connection.
type framing struct {
	header func(buf []byte) int // writes a frame's header into the headroom of buf, and returns where it begins
	ping   []byte               // a whole frame, which asks for a sign of life
}

var webSocketFraming = &framing{header: textHeader, ping: []byte{0x80 | websocket.PingMessage, 0}}

// headroom is what a frame's header needs at most: the server's frames are not masked.
const headroom = 10

var errCloseSent = errors.New("a close frame was written")

func newWire(c net.Conn, f *framing) *wire {
	w := &wire{Conn: c, framing: f}
	tcp, ok := tcpOf(c)
	if !ok || !canWriteDirectly {
		return w
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return w // closed already, as reading will show
	}
	w.raw = raw
	w.once = func(fd uintptr) bool {
		w.n, w.err = writeDirectly(fd, w.buf)
		return true // it is not tried again
	}
	return w
}

// tcpOf returns the TCP connection that c is, maybe behind a PROXY header.
func tcpOf(c net.Conn) (*net.TCPConn, bool) {
	if proxied, is := c.(interface{ TCPConn() (*net.TCPConn, bool) }); is {
		return proxied.TCPConn()
	}
	tcp, ok := c.(*net.TCPConn)
	return tcp, ok
}

// SetWriteDeadline sets the deadline of what gorilla writes next. It is not left on the connection, where it would fail
// direct writes once it has passed.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		w.deadline.Store(0)
	} else {
		w.deadline.Store(t.UnixNano())
	}
	return nil
}

// Write writes a frame of gorilla's, and waits until it is written; or drops it.
func (w *wire) Write(frame []byte) (int, error) {
	if w.idle.Load() {
		return len(frame), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writeBy(w.deadline.Load(), frame)
}

// Close closes the connection, unless it is melody's writer that is sent home: then [wire.end] is for whom it concerns.
func (w *wire) Close() error {
	if w.idle.Load() {
		return nil
	}
	return w.end()
}

// end closes the connection.
func (w *wire) end() error { return w.Conn.Close() }

// cut is end that does not wait: TLS would say first that it closes, for five seconds and more to a client that reads nothing.
func (w *wire) cut() {
	if secure, ok := w.Conn.(*tls.Conn); ok {
		_ = secure.NetConn().Close()
		return
	}
	_ = w.Conn.Close()
}

// writeBy writes and waits, at most until a deadline in Unix nanoseconds, 0 for none. mu is held.
func (w *wire) writeBy(deadline int64, b []byte) (int, error) {
	if deadline != 0 {
		_ = w.Conn.SetWriteDeadline(time.Unix(0, deadline))
		defer func() { _ = w.Conn.SetWriteDeadline(time.Time{}) }()
	}
	return w.Conn.Write(b)
}

// write writes buf as one frame, but for its first headroom bytes, where the header goes. It returns true when the
// frame is written. Else it is left to wait, and done is told, from a goroutine that run starts, how that ends:
// within a time, or with an error.
func (w *wire) write(buf []byte, wait time.Duration, run func(func()), done func(error)) bool {
	frame := buf[w.framing.header(buf):]
	if !w.mu.TryLock() { // a control frame is being written
		run(func() {
			w.mu.Lock()
			w.rest(frame, wait, done)
		})
		return false
	}
	n, err := w.direct(frame)
	switch {
	case err != nil:
		w.mu.Unlock()
		run(func() { done(err) })
		return false
	case n < len(frame):
		run(func() { w.rest(frame[n:], wait, done) }) // which keeps the lock
		return false
	}
	w.mu.Unlock()
	return true
}

// rest writes what is left of a frame, however long the peer takes, within wait, and unlocks mu.
func (w *wire) rest(b []byte, wait time.Duration, done func(error)) {
	err := errCloseSent
	if !w.closed {
		if _, err = w.writeBy(time.Now().Add(wait).UnixNano(), b); err != nil {
			w.broken()
		}
	}
	w.mu.Unlock()
	done(err)
}

// control writes a WebSocket's control frame, and waits for that.
func (w *wire) control(kind int, data []byte, wait time.Duration) error {
	const fin = 0x80
	frame := append([]byte{fin | byte(kind), byte(len(data))}, data...) // data has at most 125 bytes (RFC 6455, 5.5)
	return w.whole(frame, kind == websocket.CloseMessage, wait)
}

// whole writes a frame that has its header, behind what is being written, and waits for that. After the last one, nothing
// is written any more.
func (w *wire) whole(frame []byte, last bool, wait time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errCloseSent
	}
	w.closed = last
	_, err := w.writeBy(time.Now().Add(wait).UnixNano(), frame)
	if err != nil {
		w.broken()
	}
	return err
}

// broken ends a connection on which half a frame may stand: nothing may follow it. mu is held.
func (w *wire) broken() {
	w.closed = true
	_ = w.end()
}

// ping writes a ping, behind what is being written. It is never left out: without a pong the client would be cut off.
func (w *wire) ping(wait time.Duration, run func(func())) {
	frame := w.framing.ping
	if !w.mu.TryLock() { // it goes behind what is being written: without it the client would be cut for its silence
		run(func() {
			w.mu.Lock()
			w.rest(frame, wait, func(error) {})
		})
		return
	}
	n, err := w.direct(frame)
	if err == nil && n < len(frame) {
		run(func() { w.rest(frame[n:], wait, func(error) {}) })
		return
	}
	w.mu.Unlock()
}

// direct writes what the kernel takes at once, and returns how much that is. mu is held.
func (w *wire) direct(frame []byte) (int, error) {
	switch {
	case w.closed:
		return 0, errCloseSent
	case w.raw == nil:
		return 0, nil
	}
	w.buf = frame
	err := w.raw.Write(w.once)
	w.buf = nil
	if err == nil {
		err = w.err
	}
	return w.n, err
}

// textHeader is the header of a WebSocket's text frame (RFC 6455, 5.2); see framing.
func textHeader(buf []byte) int {
	const finText, short, long = 0x81, 126, 127
	size := len(buf) - headroom
	switch {
	case size < short:
		buf[8], buf[9] = finText, byte(size)
		return 8
	case size <= 1<<16-1:
		buf[6], buf[7] = finText, short
		binary.BigEndian.PutUint16(buf[8:], uint16(size))
		return 6
	}
	buf[0], buf[1] = finText, long
	binary.BigEndian.PutUint64(buf[2:], uint64(size))
	return 0
}
