package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/ws"
)

// socketioDir has the server, from the root of the source.
const socketioDir = "tests/peers/socketio"

// socketio is Socket.IO with its Redis adapter: two Node processes and Redis. Recipients confirm what they get by an event:
// of all answers that tell of the recipient, this is the cheapest.
func socketio() peer {
	return peer{
		name: "socketio", title: "Socket.IO", driver: socketioDriver{send: receipt}, prepare: prepareSocketio, start: startSocketio,
		answer: "the recipient itself has sent an event back; of one who is not there, nothing is heard",
	}
}

// socketioAck is the same with the acknowledgements that Socket.IO's documentation has for this.
func socketioAck() peer {
	p := socketio()
	p.name, p.title, p.driver, p.only = "socketio-ack", "with emitWithAck", socketioDriver{send: ack}, bench.Direct{}.Name()
	p.answer = "the recipient itself has acknowledged it, as emitWithAck to its room has found"
	return p
}

// socketioPosted is the same with answers that cost next to nothing, since they promise next to nothing.
func socketioPosted() peer {
	p := socketio()
	p.name, p.title, p.driver, p.only = "socketio-posted", "unconfirmed", socketioDriver{send: posted}, bench.Direct{}.Name()
	p.answer = "the sender's node is about to tell Redis; of the recipient it says nothing"
	return p
}

// prepareSocketio installs the packages that the lock file names, unless they are there.
func prepareSocketio(ctx context.Context) error {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("there is no %s on PATH: install Node.js 20 or later, with npm, from your system's packages or https://nodejs.org", program)
		}
	}
	version, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return fmt.Errorf("node --version: %w", err)
	}
	if major, _ := strconv.Atoi(strings.Split(strings.TrimPrefix(strings.TrimSpace(string(version)), "v"), ".")[0]); major < 20 {
		return fmt.Errorf("node is %s: install Node.js 20 or later", bytes.TrimSpace(version))
	}
	lock, err := os.Stat(filepath.Join(socketioDir, "package-lock.json"))
	if err != nil {
		return fmt.Errorf("run this from the root of the source: %w", err)
	}
	if done, err := os.Stat(filepath.Join(socketioDir, "node_modules", ".package-lock.json")); err == nil && done.ModTime().After(lock.ModTime()) {
		return nil
	}
	install := exec.CommandContext(ctx, "npm", "ci", "--omit=dev", "--no-audit", "--no-fund")
	install.Dir = socketioDir
	if said, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w: %s", socketioDir, err, bytes.TrimSpace(said))
	}
	return nil
}

// startSocketio starts Redis and the nodes.
func startSocketio(ctx context.Context) (*running, error) {
	var started []*program
	r := &running{stop: func() {
		for _, p := range slices.Backward(started) {
			p.stop()
		}
	}}
	redis, addr, err := startRedis(ctx)
	if err != nil {
		return nil, err
	}
	started = append(started, redis)
	for i := range nodes {
		p, err := startProgram(ctx, socketioDir, []string{"NODE_ENV=production", "REDIS_URL=redis://" + addr}, "node", "server.js")
		if err != nil {
			r.stop()
			return nil, err
		}
		started = append(started, p)
		var ready struct{ URL, About string }
		line, err := p.line(ctx)
		if err == nil {
			err = json.Unmarshal([]byte(line), &ready)
		}
		if err != nil {
			r.stop()
			return nil, fmt.Errorf("start Socket.IO: %w", err)
		}
		r.about = ready.About
		r.URLs = append(r.URLs, ready.URL)
		r.Servers = append(r.Servers, bench.Server{Name: fmt.Sprint("node", i+1), PID: p.pid, Client: true})
	}
	r.Servers = append(r.Servers, bench.Server{Name: "redis", PID: redis.pid})
	return r, nil
}

// socketioDriver speaks version 4 of Engine.IO and 5 of Socket.IO, in text frames of a WebSocket.
type socketioDriver struct{ send way }

// way is the event by which a client asks the server to send to another: see server.js.
type way string

const (
	receipt way = "send" // the recipient confirms it by an event of its own
	ack     way = "ask"  // the recipient acknowledges it to the server
	posted  way = "post" // the answer says nothing of the recipient
)

var _ bench.Driver = socketioDriver{}

// What a frame begins with: the type of the Engine.IO packet, and of a message, that of the Socket.IO packet in it.
var (
	packetOpen    = []byte("0{")
	packetPing    = []byte("2")
	packetPong    = []byte("3")
	packetNoop    = []byte("6")
	packetConnect = []byte("40")
	packetEvent   = []byte("42")
	packetAck     = []byte("43")
)

// Buffers of a connection, in bytes, as for Beeline.
const (
	busyBuffer  = 8 << 10
	quietBuffer = 512
)

// Dial connects, and says who it is.
func (d socketioDriver) Dial(ctx context.Context, l bench.Login) (bench.Conn, error) {
	o := ws.Options{URL: l.URL, Source: l.Source, Buffer: busyBuffer}
	if l.Quiet {
		o.Buffer = quietBuffer
	}
	raw, err := ws.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	c := &socketioConn{ws: raw, driver: d}
	stop := context.AfterFunc(ctx, func() { _ = raw.Cut() })
	err = c.connect(l)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, raw.Cut())
	}
	return c, nil
}

type socketioConn struct {
	ws     socket
	driver socketioDriver
	out    []byte // the frame that is made; owned by the sender
	reply  []byte // the answer that is made; owned by the reader
}

// socket is what is used of a WebSocket.
type socket interface {
	Read() ([]byte, error)
	Write(message []byte) error
	Bye() error
	Cut() error
}

// connect does the handshakes: the server opens, the client connects to the namespace with its name, the server takes it. Who
// is reached through the channel of a room also waits until Redis knows of that: the protocol has nothing that says so.
func (c *socketioConn) connect(l bench.Login) error {
	subscribed := !l.Quiet && c.driver.send != ack
	auth := map[string]any{"client": l.Client}
	if l.Group != "" {
		auth["group"] = l.Group
	}
	if subscribed {
		auth["subscribed"] = true
	}
	hello, err := json.Marshal(auth)
	if err != nil {
		return err
	}
	if err := c.expect(packetOpen); err != nil {
		return err
	}
	if err := c.ws.Write(append(packetConnect[:2:2], hello...)); err != nil {
		return err
	}
	if err := c.expect(packetConnect); err != nil || !subscribed {
		return err
	}
	return c.expect([]byte(`42["subscribed"]`))
}

// expect reads a frame that begins so.
func (c *socketioConn) expect(head []byte) error {
	frame, err := c.ws.Read()
	if err == nil && !bytes.HasPrefix(frame, head) {
		err = fmt.Errorf("the server says %.100q, where %q was to come", frame, head)
	}
	return err
}

// Send writes a frame for each request: the protocol has no other way. Its number is that of an acknowledgement, or, where
// the recipient confirms, goes with the message.
func (c *socketioConn) Send(requests ...bench.Request) error {
	for _, r := range requests {
		event, to, numbered := c.driver.send, r.To, c.driver.send == receipt
		if r.Group != "" {
			event, to, numbered = "publish", r.Group, false
		}
		out := append(c.out[:0], packetEvent...)
		if !numbered {
			out = strconv.AppendUint(out, r.ID, 10)
		}
		out = append(append(out, `["`...), event...)
		out = append(append(out, `","`...), to...)
		out = append(append(out, `",`...), r.Data...)
		if numbered {
			out = strconv.AppendUint(append(out, ','), r.ID, 10)
		}
		c.out = append(out, ']')
		if err := c.ws.Write(c.out); err != nil {
			return err
		}
	}
	return nil
}

// Read reads one frame, which is one packet.
func (c *socketioConn) Read(h bench.Handler) error {
	frame, err := c.ws.Read()
	if err != nil {
		return err
	}
	switch {
	case bytes.HasPrefix(frame, msgHead):
		err = c.message(nil, frame[len(msgHead):], h)
	case bytes.HasPrefix(frame, gotHead):
		err = c.got(frame[len(gotHead):], h)
	case bytes.HasPrefix(frame, packetAck):
		err = c.answer(frame[len(packetAck):], h)
	case bytes.HasPrefix(frame, packetEvent):
		number, rest := cutNumber(frame[len(packetEvent):])
		rest, ok := bytes.CutPrefix(rest, msgHead[len(packetEvent):])
		if !ok {
			return errNotUnderstood(frame)
		}
		err = c.message(number, rest, h)
	case bytes.Equal(frame, packetPing):
		return c.ws.Write(packetPong)
	case bytes.Equal(frame, packetNoop):
	default:
		err = errNoFrame
	}
	if errors.Is(err, errNoFrame) {
		return errNotUnderstood(frame)
	}
	return err
}

var errNoFrame = errors.New("no such frame")

func errNotUnderstood(frame []byte) error { return fmt.Errorf("the server says %.100q", frame) }

// What events begin with: a message, with who sent it behind that; and a recipient's confirmation.
var (
	msgHead = []byte(`42["msg","`)
	gotHead = []byte(`42["got",`)
)

// message takes <from>",<data>[,<id>]], and answers what asks for it: an acknowledgement, by the number of the packet, or a
// confirmation, by the id.
func (c *socketioConn) message(number, packet []byte, h bench.Handler) error {
	from, rest, ok := bytes.Cut(packet, []byte(`",`))
	data, closed := bytes.CutSuffix(rest, []byte("]"))
	if !ok || !closed || len(data) == 0 {
		return errNoFrame
	}
	c.reply = c.reply[:0]
	if len(number) > 0 {
		c.reply = append(append(append(c.reply, packetAck...), number...), "[]"...)
	}
	if end := bytes.LastIndexByte(data, '"') + 1; end < len(data) { // data is a string
		id, ok := bytes.CutPrefix(data[end:], []byte(","))
		if !ok || end == 0 {
			return errNoFrame
		}
		c.reply = append(append(c.reply, gotHead...), '"')
		c.reply = append(append(c.reply, from...), `",`...)
		c.reply = append(append(c.reply, id...), ']')
		data = data[:end]
	}
	if len(c.reply) > 0 {
		if err := c.ws.Write(c.reply); err != nil {
			return err
		}
	}
	h.Message(data)
	return nil
}

// got takes <id>]: the recipient has confirmed a message.
func (*socketioConn) got(packet []byte, h bench.Handler) error {
	number, rest := cutNumber(packet)
	id, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil || string(rest) != "]" {
		return errNoFrame
	}
	h.Answer(id, bench.Delivered)
	return nil
}

// answer takes <number>["<outcome>"].
func (*socketioConn) answer(packet []byte, h bench.Handler) error {
	number, rest := cutNumber(packet)
	id, err := strconv.ParseUint(string(number), 10, 64)
	outcome, ok := bytes.CutPrefix(rest, []byte(`["`))
	outcome, closed := bytes.CutSuffix(outcome, []byte(`"]`))
	if err != nil || !ok || !closed {
		return errNoFrame
	}
	switch string(outcome) {
	case bench.Delivered, "posted": // what was posted has to arrive as well: the checker looks
		h.Answer(id, bench.Delivered)
	case bench.Sent:
		h.Answer(id, bench.Sent)
	default:
		h.Answer(id, string(outcome))
	}
	return nil
}

// cutNumber returns the digits that something begins with, and the rest.
func cutNumber(b []byte) (number, rest []byte) {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return b[:n], b[n:]
}

// Bye leaves, as Socket.IO's client does: with a packet that says so, and a close of the WebSocket.
func (c *socketioConn) Bye() error { return errors.Join(c.ws.Write([]byte("41")), c.ws.Bye()) }

// Cut ends the connection.
func (c *socketioConn) Cut() error { return c.ws.Cut() }
