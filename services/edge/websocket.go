package edge

import (
	"bufio"
	"errors"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"
	"golang.org/x/time/rate"

	"github.com/beeline-rt/beeline/contracts"
)

// This file is the only one that knows melody. What is corrected here of its defaults, and why, was measured: it takes
// any origin, frames of 512 bytes, 10 KiB of buffer per session whatever is in it; it drops a message, and also a close,
// without an error when that buffer is full. A session here has at most one write under way, so the buffer never is.

const (
	melodyBuffer = 4 // one write, one close, and room
	readBuffer   = 512
	pingsPerSec  = 5 // that a client may send; more is a flood, and costs a write each
	pingsBurst   = 20
	closeAnswer  = 2 * time.Second // for a client to answer a close frame
)

// webSockets serves clients over WebSocket.
type webSockets struct {
	edge    *Edge
	melody  *melody.Melody
	origins map[string]bool
}

func newWebSockets(e *Edge) *webSockets {
	w := &webSockets{edge: e, melody: melody.New(), origins: map[string]bool{}}
	for _, o := range e.cfg.Origins {
		w.origins[strings.ToLower(o)] = true
	}
	m := w.melody
	m.Config.WriteWait = e.cfg.WriteTime
	m.Config.PingPeriod = math.MaxInt64 // see Edge.beat
	m.Config.PongWait = e.cfg.Heartbeat + e.cfg.Heartbeat/5
	m.Config.MaxMessageSize = int64(e.cfg.MaxFrame)
	m.Config.MessageBufferSize = melodyBuffer
	m.Upgrader = &websocket.Upgrader{
		ReadBufferSize:  readBuffer,
		WriteBufferPool: &sync.Pool{}, // a buffer is held only during a write
		Subprotocols:    []string{contracts.Subprotocol},
		CheckOrigin:     func(*http.Request) bool { return true }, // ServeHTTP has checked it
	}
	m.HandleConnect(w.connected)
	m.HandleMessage(func(s *melody.Session, b []byte) { sessionOf(s).handle(b) })
	m.HandleMessageBinary(func(s *melody.Session, _ []byte) {
		sessionOf(s).end(contracts.ClosePolicy, "frames are text")
	})
	m.HandleSentMessage(func(s *melody.Session, _ []byte) { sessionOf(s).written() })
	m.HandleClose(func(s *melody.Session, code int, _ string) error {
		_ = sessionOf(s).conn.(*webSocket).control(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Second)
		return nil
	})
	m.HandleError(func(s *melody.Session, err error) {
		if code := closeCodeOf(err); code != 0 && wireOf(s).raw != nil { // else gorilla has written it
			_ = wireOf(s).control(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Second)
		}
	})
	m.HandleDisconnect(func(s *melody.Session) {
		_ = wireOf(s).end()
		sessionOf(s).disconnected()
	})
	return w
}

// closeCodeOf returns what to tell a client whose bytes gorilla refused with an error, or 0 if it is not that.
func closeCodeOf(err error) int {
	switch {
	case errors.Is(err, websocket.ErrReadLimit):
		return websocket.CloseMessageTooBig
	case errors.Is(err, websocket.ErrCloseSent), errors.As(err, new(*websocket.CloseError)), errors.As(err, new(net.Error)), !strings.HasPrefix(err.Error(), "websocket: "):
		return 0
	}
	return websocket.CloseProtocolError
}

// wireOf returns what every connection here is made over. melody's own way to keep something with a session, a map, takes
// 300 bytes, and a look-up for each frame.
func wireOf(m *melody.Session) *wire { return m.WebsocketConnection().NetConn().(*wire) }

func sessionOf(m *melody.Session) *Session { return wireOf(m).session }

// ServeHTTP takes a connection in, or refuses it before the upgrade.
func (w *webSockets) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	who, refusal := w.admit(r)
	if refusal != nil {
		if refusal.status == http.StatusServiceUnavailable {
			rw.Header().Set("Retry-After", "1")
		}
		http.Error(rw, refusal.reason, refusal.status)
		return
	}
	// The upgrade takes the connection away from net/http; but this handler must return for net/http to let go of its
	// buffers and its goroutine's stack, which are 10 KiB a connection. So melody, which blocks, gets a goroutine of its
	// own, and this one waits for the upgrade only.
	hj := &handOff{ResponseWriter: rw, who: who, over: &signal{c: make(chan struct{})}}
	go w.serve(hj, r, hj.over)
	<-hj.over.c
}

// serve runs a connection until it ends. What it is given must not be captured, or named after the upgrade, or it would
// keep the request for as long as the connection lives.
func (w *webSockets) serve(rw http.ResponseWriter, r *http.Request, over *signal) {
	if err := w.melody.HandleRequest(rw, r); err != nil { // no session came of it, and that has been answered
		w.edge.turnAway()
		over.give()
	}
}

// signal is given once, however often.
type signal struct {
	once sync.Once
	c    chan struct{}
}

func (s *signal) give() { s.once.Do(func() { close(s.c) }) }

// refusal is why a request does not become a connection.
type refusal struct {
	status int
	reason string
}

// admit decides on a request, and returns who it says it is, nil if an auth object is to follow. One that it lets in is
// counted from here on.
func (w *webSockets) admit(r *http.Request) (who *Identity, no *refusal) {
	e := w.edge
	in := e.enter()
	defer func() {
		if no != nil {
			e.turnAway()
		}
	}()
	if in.refused != "" {
		return nil, &refusal{http.StatusServiceUnavailable, in.refused}
	}
	if !w.originAllowed(r) {
		return nil, &refusal{http.StatusForbidden, "this origin is not allowed"}
	}
	token, err := tokenOf(r)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, err.Error()}
	}
	if token == "" {
		if in.crowded {
			return nil, &refusal{http.StatusServiceUnavailable, tooManyStrangers}
		}
		return nil, nil //nolint:nilnil // it is let in, and says later who it is
	}
	identity, err := e.auth.Token(token)
	if err != nil {
		e.metrics.refusedLogins.Inc()
		return nil, &refusal{http.StatusUnauthorized, err.Error()}
	}
	return &identity, nil
}

// originAllowed holds the request against the list, byte for byte: no prefixes, suffixes or patterns. A request without
// Origin is no browser's, and carries no cookie that could be abused.
func (w *webSockets) originAllowed(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	switch {
	case len(origins) == 0 || w.origins["*"]:
		return true
	case len(origins) > 1:
		return false
	}
	return w.origins[strings.ToLower(origins[0])]
}

var errSubprotocol = errors.New("the subprotocol is " + contracts.Subprotocol)

// tokenOf finds the token in the Authorization header or, for browsers, among the subprotocols.
func tokenOf(r *http.Request) (string, error) {
	protocols := websocket.Subprotocols(r)
	known := len(protocols) == 0
	token := ""
	for _, p := range protocols {
		known = known || p == contracts.Subprotocol
		if t, ok := strings.CutPrefix(p, contracts.TokenSubprotocolPrefix); ok {
			token = t
		}
	}
	if !known {
		return "", errSubprotocol
	}
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, t, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") || t == "" {
			return "", errors.New("authorization must be Bearer with a token")
		}
		token = t
	}
	return token, nil
}

// connected makes melody's session ours, before its reader and its writer start.
func (w *webSockets) connected(m *melody.Session) {
	c := &webSocket{framed: framed{edge: w.edge, wire: wireOf(m)}, m: m}
	m.Request = nil // the headers are not needed any more
	s := newSession(w.edge, c)
	who := c.wire.who
	c.wire.who = nil
	var pings *rate.Limiter // few clients ping
	ws := m.WebsocketConnection()
	ws.SetPingHandler(func(data string) error {
		if pings == nil {
			pings = rate.NewLimiter(pingsPerSec, pingsBurst)
		}
		if !pings.Allow() {
			s.end(contracts.ClosePolicy, "too many pings")
			return nil
		}
		_ = c.control(websocket.PongMessage, []byte(data), time.Second) // reading shows what is wrong
		return nil
	})
	if c.wire.raw != nil {
		c.wire.idle.Store(true)
		_ = m.Close() // of melody's writer, see wire
	}
	if w.edge.draining.Load() { // since it was admitted
		s.end(contracts.CloseRestart, "this node restarts")
	}
	if who != nil {
		s.login(*who, "")
	}
}

// webSocket is a [connection].
type webSocket struct {
	framed
	m *melody.Session
}

var _ connection = (*webSocket)(nil)

// Write writes directly where that can be done, and else leaves it to melody. An error means that the connection has ended:
// then disconnected follows.
func (c *webSocket) Write(buf []byte) bool {
	if c.wire.raw == nil {
		_ = c.m.Write(buf[headroom:])
		return false
	}
	return c.framed.Write(buf)
}

// Ping writes directly, too, where that can be done.
func (c *webSocket) Ping() {
	if c.wire.raw != nil {
		c.framed.Ping()
		return
	}
	c.edge.spawn(func() {
		_ = c.control(websocket.PingMessage, nil, c.edge.cfg.WriteTime)
	})
}

// Close does not use melody's, which closes the socket right behind the close frame: what the client sent meanwhile is
// then unread, so the kernel resets the connection, and the frame may be lost with it. Here the client gets time to
// answer it. The session's own deadline bounds all this.
func (c *webSocket) Close(code contracts.CloseCode, reason string) {
	c.edge.work.Go(func() {
		err := c.control(websocket.CloseMessage, websocket.FormatCloseMessage(int(code), reason), c.edge.cfg.WriteTime)
		switch {
		case errors.Is(err, errCloseSent), errors.Is(err, websocket.ErrCloseSent):
			return // it was closed already, and the client has its time to answer
		case err != nil:
			c.Cut()
			return
		}
		_ = c.m.WebsocketConnection().SetReadDeadline(time.Now().Add(min(closeAnswer, c.edge.cfg.WriteTime)))
	})
}

// control writes a control frame. gorilla lets that be done beside its other writes.
func (c *webSocket) control(kind int, data []byte, wait time.Duration) error {
	if c.wire.raw == nil {
		return c.m.WebsocketConnection().WriteControl(kind, data, time.Now().Add(wait))
	}
	return c.wire.control(kind, data, wait)
}

// handOff tells when the connection has been taken from net/http, and puts a wire over it.
type handOff struct {
	http.ResponseWriter
	who  *Identity
	over *signal // the connection was taken, or will not be
}

// Hijack passes the connection on and lets the handler return.
func (h *handOff) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.over.give()
	w := newWire(conn, webSocketFraming)
	w.who = h.who
	return w, rw, nil
}
