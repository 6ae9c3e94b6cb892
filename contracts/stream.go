package contracts

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// This file is what raw TCP has and WebSocket brings along: where a frame ends, how a connection is closed, and how a ticket
// is shown.

// FrameHeader is how many bytes stand before each frame over raw TCP: its length, big-endian.
const FrameHeader = 4

// AppendFrame appends a frame as it goes over raw TCP, with its length before it.
func AppendFrame(dst, frame []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(frame))), frame...)
}

// FrameCutter finds the frames in what comes over raw TCP, however that is cut into pieces. Memory for a frame is taken as
// its bytes come: at most twice as much as came, and never more than Max. It is for one goroutine.
type FrameCutter struct {
	Max int // bytes of the largest frame; set it before the first use

	head [FrameHeader]byte
	got  int    // how many bytes of head are there
	size int    // of the frame, once head is whole
	body []byte // what came of a frame that is not whole
}

// Cut gives each frame that ends in b to take, in order; an empty one too. The frames are views of b, or have memory of their
// own that is not used again. The error is what the other side should be told, and nothing can be read after it.
func (c *FrameCutter) Cut(b []byte, take func(frame []byte)) *Error {
	for {
		if c.got < FrameHeader {
			n := copy(c.head[c.got:], b)
			c.got, b = c.got+n, b[n:]
			if c.got < FrameHeader {
				return nil
			}
			size := binary.BigEndian.Uint32(c.head[:])
			if uint64(size) > uint64(c.Max) {
				return newError(CodeTooLarge, fmt.Sprintf("the length of a frame is %d, at most %d is allowed; it stands before each frame, in 4 bytes, big-endian", size, c.Max))
			}
			c.size = int(size)
		}
		need := c.size - len(c.body)
		if len(b) < need {
			c.keep(b)
			return nil
		}
		frame := b[:need:need]
		if len(c.body) > 0 {
			c.keep(frame)
			frame = c.body
		}
		b = b[need:]
		c.got, c.body = 0, nil
		take(frame)
	}
}

// keep adds a piece of a frame to those that came before.
func (c *FrameCutter) keep(b []byte) {
	if n := len(c.body) + len(b); n > cap(c.body) {
		c.body = append(make([]byte, 0, min(c.size, 2*n)), c.body...)
	}
	c.body = append(c.body, b...)
}

// Close is the last object that a server sends over raw TCP, in place of a WebSocket's close frame.
type Close struct {
	Code   CloseCode `json:"code"`
	Reason string    `json:"reason,omitempty"` // for people
}

// AppendClose appends a close event and a line break to dst.
func AppendClose(dst []byte, c Close) []byte { return appendJSON(dst, Event{Close: &c}) }

// AppendRefusal appends all that a connection over raw TCP gets which is not taken in, as one frame: why, and how it ends.
func AppendRefusal(dst []byte, e *Error, code CloseCode) []byte {
	said := AppendClose(AppendError(nil, Request{}, e), Close{Code: code, Reason: e.Message})
	return AppendFrame(dst, said[:len(said)-1])
}

// TicketFrame is the first frame over raw TCP to a gateway, which keeps it for itself.
type TicketFrame struct {
	Ticket string      // as it stands in a URL; nobody has looked at it
	Passed ClusterName // the cluster of the gateway that passed the client on; clients send none
}

// MaxTicketFrame bounds the first frame to a gateway, in bytes: a ticket and what is around it.
const MaxTicketFrame = 1 << 10

// AppendTicketFrame appends the object, without a line break, to dst. Its parts need no escapes.
func AppendTicketFrame(dst []byte, t TicketFrame) []byte {
	dst = append(append(append(dst, `{"ticket":"`...), t.Ticket...), '"')
	if t.Passed != "" {
		dst = append(append(append(dst, `,"passed":"`...), t.Passed...), '"')
	}
	return append(dst, '}')
}

// DecodeTicketFrame reads the first frame to a gateway. The error is what the client should be told. The ticket may be
// anything without a quotation mark and without escapes; [TicketSecrets.Verify] says whether it is one.
func DecodeTicketFrame(frame []byte) (t TicketFrame, bad *Error) {
	var members [1]member
	if _, end := scanObject(frame, 0, members[:]); end < 0 || len(frame) > MaxTicketFrame || skipSpace(frame, end) != len(frame) {
		return t, newError(CodeBadRequest, noTicket)
	}
	var raw [2][]byte
	bad = decodeFields(raw[:], "the first frame", frame, "ticket", "passed")
	if bad != nil || raw[0] == nil {
		return t, newError(CodeBadRequest, noTicket)
	}
	for i, value := range raw[:2] {
		if value == nil {
			continue
		}
		if value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 {
			return TicketFrame{}, newError(CodeBadRequest, noTicket)
		}
		text := string(value[1 : len(value)-1])
		if i == 0 {
			t.Ticket = text
			continue
		}
		cluster, err := ParseClusterName(text)
		if err != nil {
			return TicketFrame{}, newError(CodeBadRequest, "passed: "+err.Error())
		}
		t.Passed = cluster
	}
	return t, nil
}

const noTicket = `the first frame must be {"ticket":"…"}: get one from the registry`
