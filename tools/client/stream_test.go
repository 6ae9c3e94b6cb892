package client_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

// streams hands out the server's ends of connections over raw TCP, which are pipes in memory.
type streams struct {
	*pipeListener
	t *testing.T
}

func newStreams(t *testing.T) *streams {
	t.Helper()
	s := &streams{t: t, pipeListener: &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// streamPeer is the server's end of one connection.
type streamPeer struct {
	net.Conn
	t *testing.T
}

func (s *streams) accept() *streamPeer {
	s.t.Helper()
	conn, err := s.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return &streamPeer{conn, s.t}
}

// dial connects a client, while serve is the server.
func (s *streams) dial(url string, o client.Options, serve func()) (*client.Client, error) {
	s.t.Helper()
	o.NetDial = s.pipeListener.dial
	if o.Token == nil {
		o.Token = client.StaticToken("token")
	}
	go serve()
	c, err := client.Dial(s.t.Context(), url, o)
	if err == nil {
		s.t.Cleanup(func() { closeClient(s.t, c) })
	}
	return c, err
}

// hears returns the next frame.
func (p *streamPeer) hears() string {
	p.t.Helper()
	var head [contracts.FrameHeader]byte
	if _, err := io.ReadFull(p, head[:]); err != nil {
		p.t.Error(err)
		return ""
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(p, frame); err != nil {
		p.t.Error(err)
	}
	return string(frame)
}

// wants checks what the next frame is.
func (p *streamPeer) wants(frame string) {
	p.t.Helper()
	if got := p.hears(); got != frame {
		p.t.Errorf("got %q, not %q", got, frame)
	}
}

func (p *streamPeer) say(objects ...string) {
	_, _ = p.Write(contracts.AppendFrame(nil, []byte(strings.Join(objects, "\n"))))
}

const authLine = `{"auth":{"token":"token"}}`

func TestOverTCPItShowsItsTicketLogsInAndAnswersPings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t)
		peers := make(chan *streamPeer, 1)
		c, err := s.dial("tcp://example.org:9000?c=a&k=room", client.Options{}, func() {
			p := s.accept()
			p.wants(`{"ticket":"c=a&k=room"}`)
			p.wants(authLine)
			p.say(readyLine)
			peers <- p
		})
		if err != nil {
			t.Fatal(err)
		}
		p := <-peers
		answered := sendAsync(t, c, "bob", hi)
		if got := p.hears(); !strings.Contains(got, `"send":{"to":"bob"`) {
			t.Error(got)
		}
		synctest.Wait() // a frame that is still being written would be answer enough
		p.say(`{"id":1,"ok":{"status":"delivered"}}`, `{"ping":{}}`)
		p.wants(`{"pong":{}}`)
		if got := <-answered; got.err != nil || got.Status != contracts.Delivered {
			t.Errorf("%+v", got)
		}
	})
}

func TestOverTCPNothingFollowsHalfAPong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t)
		peers := make(chan *streamPeer, 2)
		c, err := s.dial("tcp://example.org:9000", client.Options{}, func() {
			for range 2 {
				p := s.accept()
				p.wants(authLine)
				p.say(readyLine)
				peers <- p
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		p := <-peers
		p.say(`{"ping":{}}`)
		if _, err := io.ReadFull(p, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second) // the peer reads no more for a while
		sendAsync(t, c, "bob", hi)
		if rest, err := io.ReadAll(p); err != nil || len(rest) > 0 {
			t.Errorf("then came %q, %v", rest, err)
		}
		if got := (<-peers).hears(); !strings.Contains(got, `"send":{"to":"bob"`) {
			t.Errorf("on the next connection: %s", got)
		}
	})
}

func TestOverTCPItObeysTheCodeOfACloseObject(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t)
		ended := make(chan error, 8)
		next := func(last string) {
			p := s.accept()
			p.wants(authLine)
			p.say(readyLine)
			p.say(last)
			_ = p.Close()
		}
		_, err := s.dial("tcp://example.org:9000", client.Options{OnState: func(s client.StateChange) {
			if s.State == client.Offline || s.State == client.Closed {
				ended <- s.Err
			}
		}}, func() {
			next(`{"close":{"code":1012,"reason":"this node restarts"}}`)
			next(`{"close":{"code":4409,"reason":"replaced by a newer session"}}`)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []contracts.CloseCode{contracts.CloseRestart, contracts.CloseReplaced} {
			var closed *client.CloseError
			if err := <-ended; !errors.As(err, &closed) || closed.Code != want {
				t.Errorf("%v, not %d", err, want)
			}
		}
		after(time.Hour) // it does not come again: nobody would accept it, and the test would not end
	})
}

func TestOverTCPARefusalIsDialsError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t)
		for says, answer := range map[string]string{
			"this node is full": string(contracts.AppendRefusal(nil, &contracts.Error{Code: contracts.CodeUnavailable, Message: "this node is full"}, contracts.CloseOverload)),
			"another protocol":  "HTTP/1.1 400 Bad Request\r\n\r\n",
			"connection broke":  "",
		} {
			_, err := s.dial("tcp://example.org:9000", client.Options{}, func() {
				p := s.accept()
				_ = p.hears()
				_, _ = p.Write([]byte(answer))
				_ = p.Close()
			})
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v does not say %q", err, says)
			}
		}
	})
}

func TestOverTCPASilentServerIsLeftAfterTwoHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t)
		left := make(chan time.Duration, 1)
		_, err := s.dial("tcp://example.org:9000", client.Options{}, func() {
			p := s.accept()
			p.wants(authLine)
			p.say(readyLine)
			for range 3 {
				after(40 * time.Second)
				p.say(`{"ping":{}}`) // is enough
				p.wants(`{"pong":{}}`)
			}
			start := time.Now()
			_, _ = p.Read(make([]byte, 1))
			left <- time.Since(start)
		})
		if err != nil {
			t.Fatal(err)
		}
		if waited := <-left; waited != 2*contracts.DefaultHeartbeat {
			t.Errorf("left after %v", waited)
		}
	})
}

func TestAnAddressForTCPHasAPortAndNoPath(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"tcp://example.org", "tls://example.org:1/v1/ws", "tcp://:1x", "tcp://u:p@example.org:1", "tcp:///x"} {
		o := client.Options{Client: "a", NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("must not dial") }}
		if _, err := client.Dial(t.Context(), url, o); err == nil || strings.Contains(err.Error(), "must not dial") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestAnAddressForAnotherTransportIsNotGoneTo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		r := serveRegistry(s, "one", "two")
		o := client.Options{Registry: &client.Registry{URLs: []string{"http://registry"}, Transport: contracts.RawTCP}}
		if _, err := s.dial(t, o, nil); err == nil || !strings.Contains(err.Error(), "no address") {
			t.Error(err)
		}
		if got, want := r.asked(), `POST  {"client":"alice","transport":"tcp"}`; len(got) != 1 || got[0] != want {
			t.Errorf("asked %q, want %q", got, want)
		}
		o.Registry.Transport = "udp"
		if _, err := s.dial(t, o, nil); err == nil || len(r.asked()) != 1 {
			t.Errorf("over what there is not: %v", err)
		}
	})
}

func TestAnAlternateIsTakenWhenThePrimaryTakesTCPAndHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, tcp := newServer(t, true), newStreams(t)
		r := serveRegistry(s, "tcp://one:9000", "tcp://two:9000")
		go func() {
			first := tcp.accept()
			go func() { _, _ = io.Copy(io.Discard, first) }() // it hears all, and says nothing
			second := tcp.accept()
			second.wants(`{"ticket":"t=2"}`)
			second.wants(`{"auth":{"client":"alice"}}`)
			second.say(readyLine)
		}()
		o := client.Options{
			Client: "alice", ConnectTime: 9 * time.Second,
			Registry: &client.Registry{URLs: []string{"http://registry"}, Transport: contracts.RawTCP},
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if strings.HasPrefix(addr, "registry") {
					return s.netDial(ctx, network, addr)
				}
				return tcp.pipeListener.dial(ctx, network, addr)
			},
		}
		start := time.Now()
		c, err := client.Dial(t.Context(), "", o)
		if err != nil {
			t.Fatal(err)
		}
		defer closeClient(t, c)
		if took := time.Since(start); took != 3*time.Second || len(r.asked()) != 1 {
			t.Errorf("after %v, and %d questions", took, len(r.asked()))
		}
	})
}
