package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/bench/ws"
)

// Beeline is the driver of this system.
type Beeline struct{}

var _ Driver = Beeline{}

// joinID is the request id of a client's join, which is none that a work uses.
const joinID = contracts.MaxRequestID

// Buffers of a connection, in bytes: one read takes many frames where there are many.
const (
	busyBuffer  = 8 << 10
	quietBuffer = 512
)

// Dial logs in, and joins the group.
func (Beeline) Dial(ctx context.Context, l Login) (Conn, error) {
	o := ws.Options{URL: l.URL, Subprotocol: contracts.Subprotocol, Source: l.Source, Buffer: busyBuffer}
	if l.Quiet {
		o.Buffer = quietBuffer
	}
	raw, err := ws.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	c := &beelineConn{ws: raw}
	stop := context.AfterFunc(ctx, func() { _ = raw.Cut() })
	err = c.login(l)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, raw.Cut())
	}
	return c, nil
}

type beelineConn struct {
	ws  *ws.Conn
	out []byte // the frame that is made; owned by the sender
}

var _ Conn = (*beelineConn)(nil)

func (c *beelineConn) login(l Login) error {
	auth := map[string]string{"client": l.Client}
	if l.Token != "" {
		auth = map[string]string{"token": l.Token}
	}
	if err := c.ask(map[string]any{"auth": auth}, func(e contracts.Event) bool { return e.Ready != nil }); err != nil {
		return fmt.Errorf("log in as %s: %w", l.Client, err)
	}
	if l.Group == "" {
		return nil
	}
	join := map[string]any{"id": uint64(joinID), "join": map[string]string{"group": l.Group}}
	answered := func(e contracts.Event) bool { return e.OK != nil && e.ID != nil && *e.ID == joinID }
	if err := c.ask(join, answered); err != nil {
		return fmt.Errorf("join %s: %w", l.Group, err)
	}
	return nil
}

// ask sends a request and reads until the answer is there. What else comes, nobody has asked for yet.
func (c *beelineConn) ask(request any, done func(contracts.Event) bool) error {
	b, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if err := c.ws.Write(b); err != nil {
		return err
	}
	for {
		frame, err := c.ws.Read()
		if err != nil {
			return err
		}
		for line := range bytes.Lines(frame) {
			e, err := contracts.DecodeEvent(line)
			switch {
			case err != nil:
				return err
			case e.Error != nil:
				return e.Error
			case done(e):
				return nil
			}
		}
	}
}

// Send writes all requests in one frame.
func (c *beelineConn) Send(requests ...Request) error {
	out := c.out[:0]
	for i, r := range requests {
		if i > 0 {
			out = append(out, '\n')
		}
		out = strconv.AppendUint(append(out, `{"id":`...), r.ID, 10)
		if r.Group != "" {
			out = append(append(out, `,"publish":{"group":"`...), r.Group...)
		} else {
			out = append(append(out, `,"send":{"to":"`...), r.To...)
		}
		out = append(append(out, `","data":`...), r.Data...)
		out = append(out, "}}"...)
	}
	c.out = out
	return c.ws.Write(out)
}

// Read reads one frame.
func (c *beelineConn) Read(h Handler) error {
	frame, err := c.ws.Read()
	if err != nil {
		return err
	}
	for len(frame) > 0 {
		line := frame
		if i := bytes.IndexByte(frame, '\n'); i >= 0 {
			line, frame = frame[:i], frame[i+1:]
		} else {
			frame = nil
		}
		if err := event(line, h); err != nil {
			return err
		}
	}
	return nil
}

// What nearly every event looks like: an edge writes them without white space.
var (
	msgHead   = []byte(`{"msg":{"from":"`)
	dataHead  = []byte(`,"data":`)
	idHead    = []byte(`{"id":`)
	delivered = []byte(`,"ok":{"status":"delivered"}}`)
)

// event hands over one event. Decoding JSON would cost the generator more than the servers take for the whole message.
func event(line []byte, h Handler) error {
	if rest, ok := bytes.CutPrefix(line, msgHead); ok {
		if i := bytes.Index(rest, dataHead); i >= 0 && bytes.HasSuffix(rest, []byte("}}")) {
			h.Message(rest[i+len(dataHead) : len(rest)-2])
			return nil
		}
	}
	if rest, ok := bytes.CutPrefix(line, idHead); ok {
		id, digits := uint64(0), 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			id = id*10 + uint64(rest[digits]-'0')
			digits++
		}
		if bytes.Equal(rest[digits:], delivered) {
			h.Answer(id, Delivered)
			return nil
		}
	}
	if len(line) == 0 {
		return nil
	}
	return otherEvent(line, h)
}

func otherEvent(line []byte, h Handler) error {
	e, err := contracts.DecodeEvent(line)
	switch {
	case err != nil:
		return err
	case e.Msg != nil:
		h.Message(e.Msg.Data)
	case e.ID != nil && e.OK != nil:
		h.Answer(*e.ID, string(e.OK.Status))
	case e.ID != nil && e.Error != nil:
		h.Answer(*e.ID, string(e.Error.Code))
	case e.Error != nil:
		return e.Error
	}
	return nil
}

// Bye closes with 1000.
func (c *beelineConn) Bye() error { return c.ws.Bye() }

// Cut ends the connection.
func (c *beelineConn) Cut() error { return c.ws.Cut() }
