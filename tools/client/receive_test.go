package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

func msg(n int) string {
	return fmt.Sprintf(`{"msg":{"from":"bob","data":%d}}`, n)
}

func TestMessagesArriveInOrder(t *testing.T) {
	t.Parallel()
	const n = 3000
	s := newServer(t, false)
	got := make(chan client.Message, n)
	c, p := s.connect(t, client.Options{Handler: func(m client.Message) { got <- m }})
	for i := 0; i < n; i += 3 {
		p.say(msg(i), msg(i+1), `{"presence":{"client":"bob"}}`, "", msg(i+2), "")
	}
	for i := range n {
		if m := <-got; m.From != "bob" || string(m.Data) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m.Data)
		}
	}
	if c.Ready().Client != "alice" {
		t.Errorf("%+v", c.Ready())
	}
}

func TestMessagesBeforeReadyAreNotLost(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	got := make(chan client.Message, 3)
	dialed := make(chan *client.Client, 1)
	go func() {
		c, _ := client.Dial(t.Context(), s.url, s.options(client.Options{Handler: func(m client.Message) { got <- m }}))
		dialed <- c
	}()
	p := s.accept(t)
	p.say(msg(0))
	p.say(msg(1), readyLine, msg(2))
	for i := range 3 {
		if m := <-got; string(m.Data) != fmt.Sprint(i) {
			t.Errorf("message %d is %s", i, m.Data)
		}
	}
	closeClient(t, <-dialed)
}

func TestASlowHandlerDelaysNeitherAnswersNorPings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		release := make(chan struct{})
		c, p := s.connect(t, client.Options{Handler: func(client.Message) { <-release }})
		for i := range 100 {
			p.say(msg(i))
		}
		for range 100 {
			after(25 * time.Second)
			if err := p.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		answered := sendAsync(t, c, "bob", hi)
		p.ok(p.next())
		if got := <-answered; got.err != nil {
			t.Error(got.err)
		}
		close(release)
	})
}

func TestAHandlerThatWaitsForAnAnswerBehindAFullInboxIsFreed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 5
		s := newServer(t, true)
		var c atomic.Pointer[client.Client]
		var results []error
		got := make(chan json.RawMessage, n)
		connected, p := s.connect(t, client.Options{Inbox: 1, AnswerTime: time.Hour, Handler: func(m client.Message) {
			if len(results) == 0 {
				_, err := c.Load().Send(context.WithoutCancel(t.Context()), "bob", hi)
				results = append(results, err)
			}
			got <- m.Data
		}})
		c.Store(connected)
		var frame []string
		for i := range n {
			frame = append(frame, msg(i))
		}
		p.say(frame...)
		r := p.next()
		go func() { // it waits for a client that does not read
			_ = p.ws.WriteMessage(websocket.TextMessage, contracts.AppendOK(nil, r.ID, contracts.Delivered))
		}()
		for i := range n { // what was received is not lost
			if data := <-got; string(data) != fmt.Sprint(i) {
				t.Errorf("message %d is %s", i, data)
			}
		}
		wantSendError(t, results[0], client.ErrDisconnected, true)
		s.accept(t).ready()
	})
}

func TestAClientWithoutAHandlerPassesMessagesOver(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	c, p := s.connect(t, client.Options{Inbox: 1})
	for i := range 100 {
		p.say(msg(i))
	}
	answered := sendAsync(t, c, "bob", hi)
	p.ok(p.next())
	if got := <-answered; got.err != nil {
		t.Error(got.err)
	}
}

func TestAServerThatTalksNonsenseIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		got := make(chan client.Message, 2)
		c, p := s.connect(t, client.Options{Handler: func(m client.Message) { got <- m }})
		answered := sendAsync(t, c, "bob", hi)
		p.next()
		p.say(msg(0), `{"id":"one"`, msg(1))
		<-got
		<-got // also what comes after it in the frame
		wantSendError(t, (<-answered).err, client.ErrDisconnected, true)
		p = s.accept(t)
		p.ready()
		if err := p.ws.WriteMessage(websocket.BinaryMessage, []byte(msg(2))); err != nil {
			t.Fatal(err)
		}
		s.accept(t).ready()
	})
}
