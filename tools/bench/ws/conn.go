package ws

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Opcodes of RFC 6455.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

const (
	final         = 0x80 // in the first byte: the message ends with this frame
	masked        = 0x80 // in the second byte: what a client sends always is
	defaultBuffer = 4096
	maxMessage    = 16 << 20 // a longer one is taken for nonsense
)

// Conn is a WebSocket. One goroutine reads; any may write.
type Conn struct {
	raw net.Conn // set once

	// owned by the reader
	buffer     []byte // what was read
	from, to   int    // of it, what was not handed out yet
	fragmented []byte // the beginning of a message of several frames

	mu  sync.Mutex // guards the following
	out []byte     // the frame that is written
}

// CloseError says that the server has ended the connection, and why.
type CloseError struct {
	Code   int // 1005: it gave none
	Reason string
}

// Error returns the code and the reason.
func (e *CloseError) Error() string { return fmt.Sprintf("closed with %d: %s", e.Code, e.Reason) }

func newConn(raw net.Conn, size int, early []byte) *Conn {
	if size == 0 {
		size = defaultBuffer
	}
	c := &Conn{raw: raw, buffer: make([]byte, max(size, len(early)))}
	c.to = copy(c.buffer, early)
	return c
}

// Raw returns the connection underneath, for its addresses and deadlines.
func (c *Conn) Raw() net.Conn { return c.raw }

// Read returns the next message, which is the caller's until the next Read. Pings are answered on the way. A connection
// that the server ended is a [CloseError].
func (c *Conn) Read() ([]byte, error) {
	for {
		op, last, payload, err := c.frame()
		if err != nil {
			return nil, err
		}
		switch {
		case op == opPing:
			if err := c.write(opPong, payload); err != nil {
				return nil, err
			}
		case op == opPong:
		case op == opClose:
			return nil, c.closed(payload)
		case last && len(c.fragmented) == 0:
			return payload, nil
		case len(c.fragmented)+len(payload) > maxMessage:
			return nil, fmt.Errorf("a message of more than %d bytes", maxMessage)
		default:
			c.fragmented = append(c.fragmented, payload...)
			if last {
				whole := c.fragmented
				c.fragmented = nil
				return whole, nil
			}
		}
	}
}

// closed answers a close frame, which ends the connection.
func (c *Conn) closed(payload []byte) error {
	e := &CloseError{Code: 1005}
	if len(payload) >= 2 {
		e.Code, e.Reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
	}
	_ = c.write(opClose, payload[:min(len(payload), 2)])
	return e
}

// frame returns the next frame. Its payload is in the buffer.
func (c *Conn) frame() (op byte, last bool, payload []byte, err error) {
	head, err := c.take(2)
	if err != nil {
		return 0, false, nil, err
	}
	op, last = head[0]&0x0f, head[0]&final != 0
	length := int64(head[1])
	switch {
	case length&masked != 0:
		return 0, false, nil, fmt.Errorf("a masked frame from a server")
	case length == 126:
		if head, err = c.take(2); err == nil {
			length = int64(binary.BigEndian.Uint16(head))
		}
	case length == 127:
		if head, err = c.take(8); err == nil {
			length = int64(binary.BigEndian.Uint64(head))
		}
	}
	if err == nil && (length < 0 || length > maxMessage) {
		err = fmt.Errorf("a frame of %d bytes", length)
	}
	if err != nil {
		return 0, false, nil, err
	}
	payload, err = c.take(int(length))
	return op, last, payload, err
}

// take returns the next n bytes, which are in the buffer until the next take.
func (c *Conn) take(n int) ([]byte, error) {
	if c.to-c.from < n {
		if err := c.fill(n); err != nil {
			return nil, err
		}
	}
	b := c.buffer[c.from : c.from+n]
	c.from += n
	return b, nil
}

// fill reads until there are n bytes, and whatever else comes with them.
func (c *Conn) fill(n int) error {
	rest := c.buffer[c.from:c.to]
	if n > len(c.buffer) {
		c.buffer = make([]byte, n)
	}
	c.from, c.to = 0, copy(c.buffer, rest)
	for c.to < n {
		k, err := c.raw.Read(c.buffer[c.to:])
		c.to += k
		if err != nil && c.to < n {
			return err
		}
	}
	return nil
}

// Write sends a text message, as one frame and with one system call.
func (c *Conn) Write(message []byte) error { return c.write(opText, message) }

func (c *Conn) write(op byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := append(c.out[:0], final|op)
	switch n := len(payload); {
	case n < 126:
		out = append(out, masked|byte(n))
	case n <= 0xffff:
		out = binary.BigEndian.AppendUint16(append(out, masked|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, masked|127), uint64(n))
	}
	key := rand.Uint32()
	out = binary.LittleEndian.AppendUint32(out, key)
	head := len(out)
	c.out = append(out, payload...)
	mask(c.out[head:], key)
	_, err := c.raw.Write(c.out)
	return err
}

// mask hides the payload from proxies, as RFC 6455 asks of clients, eight bytes at a time.
func mask(b []byte, key uint32) {
	wide := uint64(key)<<32 | uint64(key)
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
	}
	for i := range b {
		b[i] ^= byte(key >> (8 * (i & 3)))
	}
}

// Bye says that nothing more will be sent. What is on its way still arrives; Read returns a [CloseError] at its end.
func (c *Conn) Bye() error { return c.write(opClose, binary.BigEndian.AppendUint16(nil, 1000)) }

// Cut ends the connection without a word.
func (c *Conn) Cut() error { return c.raw.Close() }
