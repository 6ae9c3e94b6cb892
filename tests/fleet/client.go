package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
)

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

func dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// Client is a connection that says what it is told and keeps what it hears. It is for one goroutine, and its own reader.
type Client struct {
	Name  contracts.ClientID
	Ready contracts.Ready

	t      testing.TB
	ws     *websocket.Conn // nil over raw TCP
	tcp    net.Conn        // nil over WebSocket
	lines  chan []byte     // closed when the connection ends
	ended  error           // set before lines is closed
	nextID uint64
}

// Dial connects a client by name to node i, and returns when it is ready.
func (f *Fleet) Dial(i int, name contracts.ClientID) *Client {
	f.t.Helper()
	c := f.Connect(i, nil)
	c.Login(name)
	return c
}

// Connect opens a connection to node i without logging in.
func (f *Fleet) Connect(i int, header http.Header) *Client {
	f.t.Helper()
	c, _, err := f.TryConnect(i, header)
	if err != nil {
		f.t.Fatalf("connect to %s: %v", f.Nodes[i].ID, err)
	}
	return c
}

// TryConnect opens a connection to node i, and returns the HTTP status of the answer too: 0 if there was none.
func (f *Fleet) TryConnect(i int, header http.Header) (*Client, int, error) {
	n := f.Nodes[i]
	return ConnectURL(f.t, n.URL(), header, n.dial)
}

// ConnectURL opens a connection to any address, and returns what TryConnect does.
func ConnectURL(tb testing.TB, url string, header http.Header, dial dialer) (*Client, int, error) {
	tb.Helper()
	if dial == nil {
		dial = dialTCP
	}
	d := websocket.Dialer{NetDialContext: dial, HandshakeTimeout: Patience}
	if header.Get("Sec-WebSocket-Protocol") == "" {
		d.Subprotocols = []string{contracts.Subprotocol}
	}
	ws, resp, err := d.DialContext(tb.Context(), url, header)
	status := 0
	if resp != nil {
		status = resp.StatusCode
		_ = resp.Body.Close()
	}
	if err != nil {
		return nil, status, err
	}
	c := &Client{t: tb, ws: ws, lines: make(chan []byte, 1<<16)}
	c.start(ws, func() ([]byte, error) { _, frame, err := ws.ReadMessage(); return frame, err })
	return c, status, nil
}

// start starts the client's reader, which ends with the test.
func (c *Client) start(conn io.Closer, next func() ([]byte, error)) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(next)
	}()
	c.t.Cleanup(func() {
		_ = conn.Close()
		<-read
	})
}

func (c *Client) read(next func() ([]byte, error)) {
	defer close(c.lines)
	for {
		frame, err := next()
		if err != nil {
			c.ended = err
			return
		}
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			control, err := c.control(line)
			if err != nil {
				c.ended = err
				return
			}
			if !control {
				c.lines <- line
			}
		}
	}
}

// Login names the client, and waits until it is ready.
func (c *Client) Login(name contracts.ClientID) {
	c.t.Helper()
	c.Raw(string(contracts.AppendAuth(nil, contracts.Auth{Client: name})))
	e := c.Next()
	if e.Ready == nil {
		c.t.Fatalf("%s got %+v, not ready", name, e)
	}
	c.Name, c.Ready = name, *e.Ready
}

// Raw writes one text frame.
func (c *Client) Raw(frame string) {
	c.t.Helper()
	if err := c.TryRaw(frame); err != nil {
		c.t.Fatalf("%s: write: %v", c.Name, err)
	}
}

// TryRaw is Raw that leaves it to the caller what an error is.
func (c *Client) TryRaw(frame string) error {
	if c.tcp != nil {
		_, err := c.tcp.Write(contracts.AppendFrame(nil, []byte(frame)))
		return err
	}
	return c.ws.WriteMessage(websocket.TextMessage, []byte(frame))
}

// WS is the connection, for what the protocol does not say; nil over raw TCP.
func (c *Client) WS() *websocket.Conn { return c.ws }

// Post sends a message without waiting for its outcome, and returns the request's id.
func (c *Client) Post(to contracts.ClientID, data string) uint64 {
	c.t.Helper()
	c.nextID++
	c.Raw(string(contracts.AppendSend(nil, c.nextID, to, []byte(data))))
	return c.nextID
}

// Send sends a message and returns its outcome: the status, or the code of the error. Nothing else may arrive meanwhile.
func (c *Client) Send(to contracts.ClientID, data string) string {
	c.t.Helper()
	id := c.Post(to, data)
	e := c.Next()
	if e.ID == nil || *e.ID != id {
		c.t.Fatalf("%s: got %+v, not the answer to %d", c.Name, e, id)
	}
	return Outcome(e)
}

// Outcome is the status in an answer, or the code of its error.
func Outcome(e contracts.Event) string {
	if e.Error != nil {
		return string(e.Error.Code)
	}
	return string(e.OK.Status)
}

// Expect waits for a message with this data.
func (c *Client) Expect(from contracts.ClientID, data string) {
	c.t.Helper()
	e := c.Next()
	if e.Msg == nil || e.Msg.From != from || string(e.Msg.Data) != data {
		got, _ := json.Marshal(e)
		c.t.Fatalf("%s: got %s, not %s from %s", c.Name, got, data, from)
	}
}

// Next waits for the next object.
func (c *Client) Next() contracts.Event {
	c.t.Helper()
	e, err := c.TryNext(Patience)
	if err != nil {
		c.t.Fatalf("%s: %v", c.Name, err)
	}
	return e
}

// ErrSilent is returned when nothing came.
var ErrSilent = errors.New("nothing came")

// TryNext waits for the next object; the error is [ErrSilent], or says how the connection ended.
func (c *Client) TryNext(wait time.Duration) (contracts.Event, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case line, ok := <-c.lines:
		if !ok {
			return contracts.Event{}, c.ended
		}
		e, err := contracts.DecodeEvent(line)
		if err != nil {
			err = fmt.Errorf("%w: %.200q", err, line)
		}
		return e, err
	case <-timer.C:
		return contracts.Event{}, ErrSilent
	}
}

// Closed waits until the server has closed the connection, passing over what comes before, and returns the code; 1006 is
// a connection that broke without one.
func (c *Client) Closed() int {
	c.t.Helper()
	return c.ClosedWithin(Patience)
}

// ClosedWithin is Closed with a patience of its own between two objects.
func (c *Client) ClosedWithin(patience time.Duration) int {
	c.t.Helper()
	for {
		_, err := c.TryNext(patience)
		var closed *websocket.CloseError
		switch {
		case err == nil, strings.HasPrefix(err.Error(), "decode"):
		case errors.As(err, &closed):
			return closed.Code
		case errors.Is(err, ErrSilent):
			c.t.Fatalf("%s was not closed", c.Name)
		default:
			return websocket.CloseAbnormalClosure
		}
	}
}

// Leave ends the connection in good order: it reads on until the server has closed too, and returns what still came.
func (c *Client) Leave() (rest []contracts.Event) {
	c.t.Helper()
	c.bye()
	for {
		e, err := c.TryNext(Patience)
		if err != nil {
			return rest
		}
		rest = append(rest, e)
	}
}

// Close ends the connection as a client that leaves.
func (c *Client) Close() {
	c.bye()
	if c.tcp != nil {
		_ = c.tcp.Close()
		return
	}
	_ = c.ws.Close()
}

// bye says that the client leaves.
func (c *Client) bye() {
	if c.tcp != nil {
		_ = c.tcp.(*net.TCPConn).CloseWrite()
		return
	}
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
}
