package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a WebSocket server that leaves it to the test what to say.
type server struct {
	url     string
	netDial func(ctx context.Context, network, addr string) (net.Conn, error)
	peers   chan *peer

	mu     sync.Mutex
	refuse http.Handler // if set, answers instead of an upgrade
	asked  int          // how many requests there were

	registry http.Handler // if set, answers who asks where to connect
}

// peer is the server's end of one connection.
type peer struct {
	t      *testing.T
	header http.Header
	path   string
	ws     *websocket.Conn
	frames chan []byte // what came; closed at the end
	pause  chan struct{}
	err    error // why it ended; set before frames is closed
	rest   [][]byte
}

// newServer serves over TCP, or over pipes in memory, which fake time needs.
func newServer(t *testing.T, pipes bool) *server {
	t.Helper()
	s := &server{peers: make(chan *peer, 64)}
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(t, w, r) }))
	if pipes {
		_ = h.Listener.Close()
		ln := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		h.Listener, s.netDial = ln, ln.dial
	}
	h.Start()
	t.Cleanup(h.Close)
	s.url = strings.Replace(h.URL, "http://", "ws://", 1)
	return s
}

func (s *server) serve(t *testing.T, w http.ResponseWriter, r *http.Request) {
	t.Helper()
	if s.registry != nil && r.URL.Path == client.RegistryPath {
		s.registry.ServeHTTP(w, r)
		return
	}
	s.mu.Lock()
	s.asked++
	refuse := s.refuse
	s.mu.Unlock()
	if refuse != nil {
		refuse.ServeHTTP(w, r)
		return
	}
	up := websocket.Upgrader{Subprotocols: []string{contracts.Subprotocol}}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	p := &peer{
		t: t, header: r.Header, path: r.URL.RequestURI(), ws: ws,
		frames: make(chan []byte, 4096), pause: make(chan struct{}, 1),
	}
	defer close(p.frames)
	defer ws.Close()
	s.peers <- p
	for {
		select {
		case <-p.pause:
			<-p.pause
		default:
		}
		_, b, err := ws.ReadMessage()
		if err != nil {
			p.err = err
			return
		}
		p.frames <- b
	}
}

func (s *server) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *server) refuseWith(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = h
}

// accept returns the next connection.
func (s *server) accept(t *testing.T) *peer {
	t.Helper()
	select {
	case p := <-s.peers:
		t.Cleanup(func() { _ = p.ws.Close() })
		return p
	case <-time.After(time.Minute):
		t.Fatal("nobody connected")
		return nil
	}
}

// connect returns a client that is online, and the server's end. Close is called at the end of the test.
func (s *server) connect(t *testing.T, o client.Options) (*client.Client, *peer) {
	t.Helper()
	o = s.options(o)
	dialed := make(chan *client.Client, 1)
	failed := make(chan error, 1)
	go func() {
		c, err := client.Dial(t.Context(), s.url, o)
		failed <- err
		dialed <- c
	}()
	p := s.accept(t)
	p.ready()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	c := <-dialed
	t.Cleanup(func() { closeClient(t, c) })
	return c, p
}

func (s *server) options(o client.Options) client.Options {
	if o.Token == nil && o.Client == "" {
		o.Token = client.StaticToken("token")
	}
	o.NetDial = s.netDial
	return o
}

func closeClient(t *testing.T, c *client.Client) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// say writes one frame.
func (p *peer) say(objects ...string) {
	p.t.Helper()
	if err := p.ws.WriteMessage(websocket.TextMessage, []byte(strings.Join(objects, "\n"))); err != nil {
		p.t.Fatal(err)
	}
}

const readyLine = `{"ready":{"client":"alice","session":"00112233445566778899aabbccddeeff","node":"a1","cluster":"a","heartbeat_s":25}}`

func (p *peer) ready() { p.t.Helper(); p.say(readyLine) }

// ok answers a request.
func (p *peer) ok(r contracts.Request) {
	p.t.Helper()
	p.say(strings.TrimSpace(string(contracts.AppendOK(nil, r.ID, contracts.Delivered))))
}

// next returns the next request.
func (p *peer) next() contracts.Request {
	p.t.Helper()
	for len(p.rest) == 0 {
		p.rest = bytes.Split(p.frame(), []byte("\n"))
	}
	line := p.rest[0]
	p.rest = p.rest[1:]
	r, err := contracts.DecodeRequest(line)
	if err != nil {
		p.t.Fatalf("%s: %v", line, err)
	}
	return r
}

// frame returns the next frame.
func (p *peer) frame() []byte {
	p.t.Helper()
	select {
	case b, ok := <-p.frames:
		if !ok {
			p.t.Fatalf("the client has gone: %v", p.err)
		}
		return b
	case <-time.After(time.Minute):
		p.t.Fatal("nothing came from the client")
		return nil
	}
}

// gone waits for the end of the connection and returns why it ended.
func (p *peer) gone() error {
	p.t.Helper()
	for range p.frames {
	}
	return p.err
}

// stopReading stops the server from reading after the frame that comes next, in a bubble, until the returned function is
// called.
func (p *peer) stopReading() (goOn func()) {
	p.t.Helper()
	synctest.Wait() // it is reading
	p.pause <- struct{}{}
	goOn = sync.OnceFunc(func() { close(p.pause) })
	p.t.Cleanup(goOn)
	return goOn
}

// close closes the connection with a code.
func (p *peer) close(code contracts.CloseCode) {
	p.t.Helper()
	text := websocket.FormatCloseMessage(int(code), "because")
	if err := p.ws.WriteControl(websocket.CloseMessage, text, time.Now().Add(time.Minute)); err != nil {
		p.t.Fatal(err)
	}
}

// pipeListener hands out pipes.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error { l.once.Do(func() { close(l.done) }); return nil }

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

var hi = json.RawMessage(`{"text":"hi"}`)

// result is what became of a request.
type result struct {
	client.Result
	err error
}

// sendAsync sends a message, and fails the test if that is refused.
func sendAsync(t *testing.T, c *client.Client, to contracts.ClientID, data json.RawMessage) <-chan result {
	t.Helper()
	ch := make(chan result, 2)
	if err := c.SendAsync(to, data, func(r client.Result, err error) { ch <- result{r, err} }); err != nil {
		t.Fatal(err)
	}
	return ch
}

// wantSendError checks that err is a SendError with this cause and fate.
func wantSendError(t *testing.T, err, cause error, written bool) {
	t.Helper()
	var sendErr *client.SendError
	if !errors.As(err, &sendErr) || !errors.Is(err, cause) || sendErr.Written != written || client.MayHaveArrived(err) != written {
		t.Errorf("%v, written %v; want %v, written %v", err, sendErr != nil && sendErr.Written, cause, written)
	}
}

// after is a point of fake time.
func after(d time.Duration) { <-time.After(d) }
