package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
)

// writeBuffer bounds the fragments that gorilla cuts a frame into. The buffers are held only during a write.
const writeBuffer = 16 << 10

var writeBuffers = &sync.Pool{}

// link is one connection. A goroutine reads from the start; another one writes once it is ready. run owns it and waits for
// both.
type link struct {
	// set once
	conn   transport
	ready  chan contracts.Ready  // holds the first
	moving chan contracts.Moving // holds the first
	stuck  chan struct{}         // closed by the writer when it could not write
	left   chan struct{}         // closed by run: nothing more is to be written
	work   sync.WaitGroup

	// owned by run
	joined  []contracts.GroupName // groups that it was in before
	watched []contracts.ClientID  // that it watched before
	refused error                 // why it is not in others of these, or does not watch others

	// owned by the reading goroutine
	silence time.Duration // after which the server is taken for dead
	frame   bytes.Buffer
	refusal *contracts.Error // the latest error that answers no request

	fail   sync.Once
	broken chan struct{} // closed when nothing more is read
	err    error         // why; set before broken is closed
}

// breaks notes why nothing more will be read. The first call counts.
func (l *link) breaks(err error) {
	l.fail.Do(func() {
		l.err = err
		close(l.broken)
	})
}

// open connects and logs in, as far as writing goes. The link's reader runs when it returns.
func (c *Client) open(ctx, life context.Context, target string) (*link, error) {
	token, err := c.login.get(ctx)
	if err != nil {
		return nil, err
	}
	header := c.opts.HTTPHeader.Clone()
	// In the header, a token is seen before the upgrade, and does not count against the server's bound of connections that
	// are not logged in. A device, though, fits only into an auth object; and raw TCP has no headers.
	inHeader := token != "" && c.opts.Device == "" && !overTCP(target)
	if inHeader {
		if header == nil {
			header = http.Header{}
		}
		header.Set("Authorization", "Bearer "+token)
	}
	conn, err := c.dial(ctx, target, header)
	if err != nil {
		return nil, err
	}
	if !inHeader {
		auth := contracts.AppendAuth(nil, contracts.Auth{Token: token, Client: c.nameUnless(token), Device: c.opts.Device})
		if err := conn.write(auth[:len(auth)-1], c.opts.WriteTime); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("log in: %w", err)
		}
	}
	l := &link{
		conn: conn, ready: make(chan contracts.Ready, 1), moving: make(chan contracts.Moving, 1), broken: make(chan struct{}),
		stuck: make(chan struct{}), left: make(chan struct{}), silence: 2 * contracts.DefaultHeartbeat,
	}
	l.work.Go(func() { c.read(life, l) })
	return l, nil
}

// nameUnless returns the name to log in by when there is no token.
func (c *Client) nameUnless(token string) contracts.ClientID {
	if token != "" {
		return ""
	}
	return c.opts.Client
}

// dial opens the connection underneath. gorilla heeds the context's end only while it dials, so here it closes the connection.
func (c *Client) dial(ctx context.Context, target string, header http.Header) (transport, error) {
	if overTCP(target) {
		return c.dialTCP(ctx, target)
	}
	stop := func() bool { return true }
	defer func() { stop() }()
	netDial := c.opts.NetDial
	d := websocket.Dialer{
		TLSClientConfig: c.opts.TLS,
		Subprotocols:    []string{contracts.Subprotocol},
		WriteBufferSize: writeBuffer,
		WriteBufferPool: writeBuffers,
	}
	if netDial == nil {
		netDial = new(net.Dialer).DialContext
		d.Proxy = http.ProxyFromEnvironment
	}
	d.NetDialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := netDial(ctx, network, addr)
		if err == nil {
			stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}
	conn, answer, err := d.DialContext(ctx, target, header)
	if answer != nil {
		defer answer.Body.Close()
	}
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && answer != nil:
		return nil, refused(answer)
	case err != nil:
		if cause := ctx.Err(); cause != nil {
			return nil, fmt.Errorf("%w: %w", cause, err)
		}
		return nil, err
	case conn.Subprotocol() != contracts.Subprotocol:
		_ = conn.Close()
		return nil, errSubprotocol
	}
	conn.SetReadLimit(contracts.MaxBundle) // more than any frame of a server
	return newWebSocket(conn), nil
}

// read reads until the connection ends. Every frame and every ping shows that the server lives.
func (c *Client) read(life context.Context, l *link) {
	for {
		l.extend()
		if err := l.conn.next(&l.frame, l.extend); err != nil {
			l.breaks(l.readError(err))
			return
		}
		for line := range bytes.SplitSeq(l.frame.Bytes(), []byte("\n")) {
			if len(line) == 0 {
				continue
			}
			if err := c.event(life, l, line); err != nil {
				l.breaks(err) // and on: what follows in the frame may be messages
			}
		}
	}
}

func (l *link) extend() { _ = l.conn.SetReadDeadline(time.Now().Add(l.silence)) }

// readError says why the connection ended, with what the server said of it before.
func (l *link) readError(err error) error {
	var (
		closed  *websocket.CloseError
		timeout net.Error
	)
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		err = &CloseError{Code: contracts.CloseCode(closed.Code), Reason: closed.Text}
	case errors.As(err, &timeout) && timeout.Timeout():
		err = fmt.Errorf("nothing heard of the server for %s: %w", l.silence, err)
	}
	if l.refusal != nil {
		return fmt.Errorf("%w: %w", err, l.refusal)
	}
	return err
}

// event works off one object from the server. It waits for the handler, and for nothing else.
func (c *Client) event(life context.Context, l *link, line []byte) error {
	e, err := contracts.DecodeEvent(line)
	switch {
	case err != nil:
		return err
	case e.Msg != nil:
		if c.opts.Handler != nil {
			c.deliver(life, l, delivery{message: Message{From: e.Msg.From, Group: e.Msg.Group, Data: e.Msg.Data}})
		}
	case e.Presence != nil:
		if p := (Presence{Client: e.Presence.Client, Online: e.Presence.Online}); c.changed(p) {
			c.present(life, l, p)
		}
	case e.ID != nil && e.OK != nil:
		r := Result{Status: e.OK.Status, Nodes: e.OK.Nodes, online: &e.OK.Online}
		if e.OK.Data != nil {
			r.data = &e.OK.Data
		}
		c.present(life, l, c.answer(*e.ID, r, nil)...)
	case e.ID != nil && e.Error != nil:
		c.answer(*e.ID, Result{}, e.Error)
	case e.Error != nil:
		l.refusal = e.Error
		c.opts.Logger.Warn("the server reports an error that answers no request", slog.String("code", string(e.Error.Code)))
	case e.Ready != nil:
		if e.Ready.HeartbeatS > 0 {
			l.silence = 2 * time.Duration(e.Ready.HeartbeatS) * time.Second
		}
		l.refusal = nil
		first(l.ready, *e.Ready)
	case e.Moving != nil:
		first(l.moving, *e.Moving)
	case e.Ping != nil:
		l.conn.pong()
	case e.Close != nil:
		return l.readError(&CloseError{Code: e.Close.Code, Reason: e.Close.Reason})
	}
	return nil
}

// first puts a value into a channel that holds one, unless it has one.
func first[T any](ch chan<- T, v T) {
	select {
	case ch <- v:
	default:
	}
}

// present hands over the presence of clients.
func (c *Client) present(life context.Context, l *link, news ...Presence) {
	if c.opts.OnPresence == nil {
		return
	}
	for _, p := range news {
		c.deliver(life, l, delivery{presence: p})
	}
}

// deliver hands a message or a presence to the handlers' goroutine. When that is too far behind, reading stops, which the server will
// notice. If it goes on for as long as a dead server is waited for, the connection is given up: the handler may be waiting
// for an answer that can only be read after this message.
func (c *Client) deliver(life context.Context, l *link, d delivery) {
	select {
	case c.inbox <- d:
		return
	default:
	}
	patience := time.NewTimer(l.silence)
	defer patience.Stop()
	select {
	case c.inbox <- d:
		return
	case <-life.Done():
		return
	case <-patience.C:
		l.breaks(errStalled)
	}
	select {
	case c.inbox <- d:
	case <-life.Done():
	}
}

// write writes what is queued, all that one frame takes at a time, until run has left the link.
func (c *Client) write(l *link) {
	var buf []byte
	for {
		for buf = c.gather(l, buf[:0]); len(buf) > 0; buf = c.gather(l, buf[:0]) {
			if err := l.conn.write(buf[:len(buf)-1], c.opts.WriteTime); err != nil {
				close(l.stuck)
				return
			}
		}
		select {
		case <-l.left:
			return
		case <-c.wake:
		}
	}
}
