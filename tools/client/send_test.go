package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

func TestSendSaysWhatBecameOfTheMessage(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	c, p := s.connect(t, client.Options{})
	for _, tc := range []struct {
		answer string
		status contracts.Outcome
		code   contracts.Code
		maybe  bool
	}{
		{answer: `"ok":{"status":"delivered"}`, status: contracts.Delivered},
		{answer: `"error":{"code":"offline","message":"not connected"}`, code: contracts.CodeOffline},
		{answer: `"error":{"code":"unknown","message":"no answer"}`, code: contracts.CodeUnknown, maybe: true},
		{answer: `"error":{"code":"of_a_later_version","message":"x"}`, code: "of_a_later_version"},
	} {
		answered := sendAsync(t, c, "bob", hi)
		r := p.next()
		if r.Send.To != "bob" || !bytes.Equal(r.Send.Data, hi) {
			t.Errorf("the server got %s for %s", r.Send.Data, r.Send.To)
		}
		p.say(fmt.Sprintf(`{"id":%d,%s}`, r.ID, tc.answer))
		got := <-answered
		if got.Status != tc.status || (got.err != nil) != (tc.code != "") || client.MayHaveArrived(got.err) != tc.maybe {
			t.Errorf("%s: %+v", tc.answer, got)
		}
		var answer *contracts.Error
		if tc.code != "" && (!errors.As(got.err, &answer) || answer.Code != tc.code) {
			t.Errorf("%s: %v", tc.answer, got.err)
		}
	}
}

func TestWhatTheServerWouldRefuseIsNotSent(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	c, p := s.connect(t, client.Options{})
	for name, tc := range map[string]struct {
		to   contracts.ClientID
		data string
		want error
	}{
		"no data":     {"bob", ``, client.ErrInvalidData},
		"not JSON":    {"bob", `{`, client.ErrInvalidData},
		"line break":  {"bob", "[1,\n2]", client.ErrInvalidData},
		"not UTF-8":   {"bob", "\"\xff\"", client.ErrInvalidData},
		"too large":   {"bob", `"` + strings.Repeat("x", contracts.DefaultMaxFrame) + `"`, client.ErrTooLarge},
		"no one":      {"", `1`, contracts.ErrInvalidID},
		"a wildcard":  {"*", `1`, contracts.ErrInvalidID},
		"an injector": {`bob","from":"eve`, `1`, contracts.ErrInvalidID},
	} {
		_, err := c.Send(t.Context(), tc.to, json.RawMessage(tc.data))
		if !errors.Is(err, tc.want) || client.MayHaveArrived(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	answered := sendAsync(t, c, "bob", hi)
	if r := p.next(); r.ID != 1 {
		t.Errorf("before it, the server got %d requests", r.ID-1)
	} else {
		p.ok(r)
		<-answered
	}
}

func TestTheLargestMessageFits(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	c, p := s.connect(t, client.Options{})
	const around = len(`{"id":1,"send":{"to":"bob","data":""}}`)
	data := `"` + strings.Repeat("x", contracts.DefaultMaxFrame-around) + `"`
	sendAsync(t, c, "bob", json.RawMessage(data))
	if n := len(p.frame()); n != contracts.DefaultMaxFrame {
		t.Errorf("the frame has %d bytes", n)
	}
	if err := c.SendAsync("bobb", json.RawMessage(data), nil); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestWhatIsQueuedGoesOutTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, maxFrame = 200, 4096
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{MaxFrame: maxFrame})
		goOn := p.stopReading()
		for range n + 2 {
			sendAsync(t, c, "bob", hi)
			synctest.Wait()
		}
		goOn()
		var frames, id int
		for id < n+2 {
			frame := p.frame()
			frames++
			if len(frame) > maxFrame || bytes.HasSuffix(frame, []byte("\n")) {
				t.Errorf("a frame has %d bytes and ends in %q", len(frame), frame[len(frame)-1])
			}
			for line := range bytes.SplitSeq(frame, []byte("\n")) {
				id++
				if r, err := contracts.DecodeRequest(line); err != nil || int(r.ID) != id {
					t.Fatalf("request %d is %s: %v", id, line, err)
				}
			}
		}
		// One written, one being written, and then the rest at 48 bytes each.
		if want := 2 + n*48/maxFrame + 1; frames > want {
			t.Errorf("%d frames, %d would do", frames, want)
		}
	})
}

func TestTooManyWithoutAnAnswerAreRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	c, p := s.connect(t, client.Options{MaxPending: 2})
	first := sendAsync(t, c, "bob", hi)
	sendAsync(t, c, "bob", hi)
	if err := c.SendAsync("bob", hi, nil); !errors.Is(err, client.ErrBusy) {
		t.Errorf("the third: %v", err)
	}
	p.ok(p.next())
	<-first
	sendAsync(t, c, "bob", hi)
}

func TestTheQueueIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{MaxQueue: 100})
		goOn := p.stopReading()
		for range 2 { // the first is read, the second is being written
			sendAsync(t, c, "bob", hi)
			synctest.Wait()
		}
		for range 2 {
			sendAsync(t, c, "bob", hi)
		}
		if err := c.SendAsync("bob", hi, nil); !errors.Is(err, client.ErrBusy) {
			t.Errorf("over the bound: %v", err)
		}
		goOn()
		synctest.Wait()
		sendAsync(t, c, "bob", hi)
	})
}

func TestAContextEndsTheWaitAndSaysWhatMayHaveHappened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		goOn := p.stopReading()
		sendAsync(t, c, "bob", hi)
		synctest.Wait()
		errs := make([]error, 3)
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for i := range errs { // the first of them is being written
			wg.Go(func() { _, errs[i] = c.Send(ctx, "bob", hi) })
			synctest.Wait()
		}
		wg.Wait()
		wantSendError(t, errs[0], context.DeadlineExceeded, true)
		wantSendError(t, errs[1], context.DeadlineExceeded, false)
		wantSendError(t, errs[2], context.DeadlineExceeded, false)
		_, err := c.Send(ctx, "bob", hi)
		wantSendError(t, err, context.DeadlineExceeded, false)

		goOn()
		answered := sendAsync(t, c, "bob", hi)
		for _, want := range []uint64{1, 2, 5} { // those given up in the queue are not sent
			r := p.next()
			if r.ID != want {
				t.Errorf("the server got request %d, not %d", r.ID, want)
			}
			p.ok(r)
		}
		if got := <-answered; got.err != nil { // and a late answer is no other request's
			t.Error(got.err)
		}
	})
}

func TestARequestThatIsNeverAnsweredHasAResultAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		start := time.Now()
		answered := sendAsync(t, c, "bob", hi)
		p.next()
		got := <-answered
		wantSendError(t, got.err, client.ErrNoAnswer, true)
		if took := time.Since(start); took < 10*time.Second || took > 15*time.Second {
			t.Errorf("after %s", took)
		}
		if s := c.State(); s != client.Online {
			t.Errorf("the connection is %s", s)
		}
	})
}

func TestEveryRequestHasExactlyOneResultWhenTheConnectionBreaks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		s := newServer(t, true)
		c, p := s.connect(t, client.Options{})
		var written, unwritten, other atomic.Int32
		count := func(_ client.Result, err error) {
			var sendErr *client.SendError
			switch {
			case !errors.As(err, &sendErr) || !errors.Is(err, client.ErrDisconnected):
				other.Add(1)
			case sendErr.Written:
				written.Add(1)
			default:
				unwritten.Add(1)
			}
		}
		send := func() {
			if err := c.SendAsync("bob", hi, count); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		for range n {
			send()
			p.next()
		}
		goOn := p.stopReading()
		for range n {
			send() // the first is read, the second is being written, the rest is queued
		}
		_ = p.ws.Close()
		goOn()
		synctest.Wait()
		if w, u, o := written.Load(), unwritten.Load(), other.Load(); w != n+2 || u != n-2 || o != 0 {
			t.Errorf("%d may have arrived, %d not, %d had another result", w, u, o)
		}
		if err := c.SendAsync("bob", hi, count); !errors.Is(err, client.ErrDisconnected) || client.MayHaveArrived(err) {
			t.Errorf("while offline: %v", err)
		}
	})
}

// echo answers everything until the connection ends, and breaks it off after some requests.
func (p *peer) echo(breakAfter int) {
	p.ready()
	for frame := range p.frames {
		var answers []string
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			r, err := contracts.DecodeRequest(line)
			if err != nil {
				p.t.Errorf("%s: %v", line, err)
				return
			}
			answers = append(answers, fmt.Sprintf(`{"id":%d,"ok":{"status":"delivered"}}`, r.ID))
		}
		if breakAfter -= len(answers); breakAfter < 0 {
			_ = p.ws.Close()
			return
		}
		_ = p.ws.WriteMessage(1, []byte(strings.Join(answers, "\n")))
	}
}

func TestManyGoroutinesSendThroughBreaks(t *testing.T) {
	t.Parallel()
	const senders, each = 8, 300
	s := newServer(t, false)
	var served sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	served.Go(func() {
		for {
			select {
			case p := <-s.peers:
				served.Go(func() { p.echo(500) })
			case <-ctx.Done():
				return
			}
		}
	})
	c, err := client.Dial(t.Context(), s.url, s.options(client.Options{
		Backoff: client.Backoff{First: time.Millisecond, Base: time.Millisecond, Cap: time.Millisecond},
	}))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var delivered, maybe atomic.Int32
	for range senders {
		wg.Go(func() {
			for n := 0; n < each; {
				_, err := c.Send(t.Context(), "bob", hi)
				switch {
				case err == nil:
					delivered.Add(1)
				case client.MayHaveArrived(err):
					maybe.Add(1)
				case errors.Is(err, client.ErrDisconnected):
					continue // again: it was not sent
				default:
					t.Error(err)
				}
				n++
			}
		})
	}
	wg.Wait()
	closeClient(t, c)
	cancel()
	served.Wait()
	if d, m := delivered.Load(), maybe.Load(); d+m != senders*each || m == 0 || d < senders*each/2 {
		t.Errorf("%d delivered, %d perhaps", d, m)
	}
}

// BenchmarkSendAsync keeps 256 requests under way, over TCP. The figures are of both ends.
func BenchmarkSendAsync(b *testing.B) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{Subprotocols: []string{contracts.Subprotocol}}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		out := []byte(readyLine)
		for ws.WriteMessage(websocket.TextMessage, out) == nil {
			_, frame, err := ws.ReadMessage()
			if err != nil {
				return
			}
			out = out[:0]
			for line := range bytes.SplitSeq(frame, []byte("\n")) {
				req, _ := contracts.DecodeRequest(line)
				out = contracts.AppendOK(out, req.ID, contracts.Delivered)
			}
		}
	}))
	defer h.Close()
	c, err := client.Dial(b.Context(), strings.Replace(h.URL, "http", "ws", 1), client.Options{Token: client.StaticToken("t")})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	slots := make(chan struct{}, 256)
	done := func(_ client.Result, err error) {
		if err != nil {
			b.Error(err)
		}
		<-slots
	}
	b.ReportAllocs()
	for b.Loop() {
		slots <- struct{}{}
		if err := c.SendAsync("user-000042", hi, done); err != nil {
			b.Fatal(err)
		}
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
}
