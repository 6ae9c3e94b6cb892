package edge

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	dto "github.com/prometheus/client_model/go"

	"github.com/beeline-rt/beeline/contracts"
)

// overTCP serves raw TCP, too, and returns where.
func overTCP(tb testing.TB, e *Edge) string {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			e.TakeTCP(conn)
		}
	}()
	tb.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// dialTCP connects and logs in by name.
func dialTCP(tb testing.TB, address, name string) net.Conn {
	tb.Helper()
	c, err := new(net.Dialer).DialContext(tb.Context(), "tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	auth := contracts.AppendAuth(nil, contracts.Auth{Token: name})
	_, _ = c.Write(contracts.AppendFrame(nil, auth))
	if got, err := readTCP(c); err != nil || !bytes.Contains(got, []byte("ready")) {
		tb.Fatalf("%q, %v", got, err)
	}
	return c
}

// reset ends a connection so that its port is free at once: a fuzzer would soon have none left.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func readTCP(c io.Reader) ([]byte, error) {
	var head [contracts.FrameHeader]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(c, frame)
	return frame, err
}

// last is the end of what both transports are asked: its answer shows that all was worked off.
const last = `{"id":9007199254740991,"ping":{}}`

// answersOver returns what the server says to frames, but for what it looks up first, whose place is anywhere; and the code by
// which it closes, or 0. next reads a frame.
func answersOver(t *testing.T, next func() ([]byte, error)) (said []string, code int) {
	t.Helper()
	for {
		frame, err := next()
		var closed *websocket.CloseError
		switch {
		case errors.As(err, &closed):
			return said, closed.Code
		case err != nil:
			t.Fatal(err)
		}
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			e, err := contracts.DecodeEvent(line)
			switch {
			case err != nil:
				t.Fatalf("%q: %v", line, err)
			case e.Close != nil:
				return said, int(e.Close.Code)
			case e.Pong != nil && e.ID != nil && *e.ID == contracts.MaxRequestID:
				return said, 0
			case e.Pong != nil || e.Error != nil && (e.Error.Code == contracts.CodeBadRequest || e.Error.Code == contracts.CodeTooLarge):
				said = append(said, string(line))
			}
		}
	}
}

// fuzzed is an edge that both transports reach, and takes any rate of requests.
func fuzzed(f *testing.F) (e *Edge, ws *httptest.Server, tcp string) {
	f.Helper()
	e, ws = listening(f, &readyCourier{}, func(c *Config) { c.MaxFrame, c.MaxPerClient = 4<<10, 1000 })
	return e, ws, overTCP(f, e)
}

// FuzzTransports holds that both transports understand the same frames the same way: the same answers in the same order, the
// same close code. A zero byte ends each frame.
func FuzzTransports(f *testing.F) {
	e, srv, tcp := fuzzed(f)
	golden, err := os.ReadFile("../../contracts/testdata/requests.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(golden) {
		var c struct{ Line string }
		if err := json.Unmarshal(line, &c); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(c.Line))
	}
	for _, seed := range []string{
		`{"id":1,"ping":{}}`, "{\"ping\":{}}\n\n{\"id\":2,\"ping\":{}}\x00\x00{", "\xff", `{"id":3,"send":{"to":"bob","data":1}}` + "\x00" + `{"id":4,"join":{"group":"g"}}`,
		`{"auth":{"client":"eve"}}` + "\x00[]\x00{\"pong\":{}}", `{"id":1,"call":{"service":"s","data":1}}`, `{"ticket":"c=a"}`, "\n\x00" + `{"id":5,"watch":{"clients":["bob"]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		frames := append(bytes.Split(input, []byte{0}), []byte(last))
		if slices.ContainsFunc(frames[:len(frames)-1], func(b []byte) bool {
			return len(b) > e.cfg.MaxFrame || bytes.Contains(b, []byte("9007199254740991"))
		}) {
			return // that a frame is too large is an error over raw TCP, and a close alone over WebSocket
		}
		w := dial(t, srv, "fuzz", 0)
		defer reset(w.NetConn())
		expectReady(t, w)
		r := dialTCP(t, tcp, "fuzz")
		defer reset(r)
		var stream []byte
		for _, frame := range frames {
			_ = w.WriteMessage(websocket.TextMessage, frame) // it may have been closed
			stream = contracts.AppendFrame(stream, frame)
		}
		_, _ = r.Write(stream)
		overWS, codeWS := answersOver(t, func() ([]byte, error) { _, b, err := w.ReadMessage(); return b, err })
		overRaw, codeRaw := answersOver(t, func() ([]byte, error) { return readTCP(r) })
		if !slices.Equal(overWS, overRaw) || codeWS != codeRaw {
			t.Fatalf("%q\nover WebSocket %q, closed with %d\nover raw TCP  %q, closed with %d", input, overWS, codeWS, overRaw, codeRaw)
		}
	})
}

// FuzzStream holds that no bytes after a log-in harm the server, over either transport: no fault, every frame of an answer is
// whole, the connection ends when the client does, and another client is served.
func FuzzStream(f *testing.F) {
	e, srv, tcp := fuzzed(f)
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte("\x81\x02{}\x88\x00\x89\x7d"))
	f.Add(contracts.AppendFrame(contracts.AppendFrame(nil, []byte(last)), []byte("\xff")))
	f.Fuzz(func(t *testing.T, input []byte) {
		w := dial(t, srv, "fuzz", 0)
		expectReady(t, w)
		r := dialTCP(t, tcp, "fuzz")
		for _, c := range []net.Conn{w.NetConn(), r} {
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			_, _ = c.Write(input)
			_ = c.(*net.TCPConn).CloseWrite()
		}
		for {
			if _, err := readTCP(r); err != nil {
				if err != io.EOF { //nolint:errorlint // what is no whole frame is another error
					t.Fatalf("%q: the answer ends with %v", input, err)
				}
				break
			}
		}
		if _, err := io.Copy(io.Discard, w.NetConn()); err != nil {
			t.Logf("%q: WebSocket: %v", input, err) // reset, because something was left unread
		}
		_, _ = w.Close(), r.Close()
		var faults dto.Metric
		if err := e.metrics.faults.Write(&faults); err != nil || faults.GetCounter().GetValue() != 0 {
			t.Fatalf("%q: %v faults, %v", input, faults.GetCounter().GetValue(), err)
		}
		reset(dialTCP(t, tcp, "other"))
	})
}
