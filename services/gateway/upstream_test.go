package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// patient is for instances that answer, however slow the machine is.
func patient() Config {
	c := config()
	c.AnswerTime = 5 * time.Second
	return c
}

// answers starts an instance that answers every upgrade with a status and no more.
func (f *fleetFake) answers(t *testing.T, n contracts.NodeID, status int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = ln.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 %03d What\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n", status)
			_, _ = conn.Read(make([]byte, 4096))
			_ = conn.Close()
		}
	}()
	f.add(n, ln.Addr().String())
}

func TestAnswerThatSaysNothingAgainstTheClientIsTheInstancesFault(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]int{
		0: 503, 100: 503, 200: 503, 302: 503, 500: 503, 502: 503, 503: 503, 599: 503, 999: 503,
		400: 400, 401: 401, 403: 403, 426: 426, 499: 499,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			f := &fleetFake{}
			f.answers(t, "a0", status)
			_, address, _ := serve(t, patient(), f)
			if c := connect(t, address, secrets.Sign(ticket("a", "room"))); c.status != want {
				t.Errorf("%d %s", c.status, c.text)
			}
			if want != http.StatusServiceUnavailable {
				return
			}
			f.echo(t, "a1") // an alternate
			for range 4 {
				if c := connect(t, address, secrets.Sign(ticket("a", "room"))); c.node != "a1" {
					t.Errorf("%d %s", c.status, c.text)
				}
			}
		})
	}
}

func TestInstanceThatHasFailedServesWhenTheOthersTakeNobody(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.echo(t, "a1")
	f.answers(t, "a2", http.StatusServiceUnavailable)
	g, address, _ := serve(t, patient(), f)
	for _, i := range f.Instances() {
		if i.Node == "a1" {
			g.outliers.failed(i.Peer, time.Now())
		}
	}
	if c := connect(t, address, secrets.Sign(ticket("a", "room"))); c.node != "a1" {
		t.Errorf("%d %s", c.status, c.text)
	}
}

func TestFailureThatManyFindAtOnceIsOne(t *testing.T) {
	t.Parallel()
	var o outliers
	p, now := contracts.Peer{Node: "a1", Epoch: 1}, time.Now()
	for i := range 50 {
		if news := o.failed(p, now); news != (i == 0) {
			t.Errorf("number %d is news: %v", i, news)
		}
	}
	if o.passes(p, now.Add(firstEjection+slowReturn)) {
		t.Error("it is passed over for longer than after one failure")
	}
}

func TestPeerHasTimeToFindAnAlternate(t *testing.T) {
	t.Parallel()
	fa, fb := &fleetFake{}, &fleetFake{}
	fa.echo(t, "a1")
	fb.echo(t, "b1")
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // the kernel accepts, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	fb.add("b2", ln.Addr().String())
	key := contracts.PlacementKey("room")
	for i := 0; byHash(key, fb.Instances())[0].Node != "b2"; i++ {
		key = contracts.PlacementKey(fmt.Sprint("room-", i))
	}
	cb := config()
	cb.Cluster, cb.AnswerTime = "b", time.Second
	_, b, _ := serve(t, cb, fb)
	ca := config()
	ca.AnswerTime = cb.AnswerTime
	ca.Peers = map[contracts.ClusterName][]string{"b": {b}}
	_, a, _ := serve(t, ca, fa)
	if c := connect(t, a, secrets.Sign(ticket("b", key))); c.node != "b1" {
		t.Errorf("%d %s %q", c.status, c.text, c.node)
	}
}

// What a client writes into its request line cannot become a line of its own at the instance.
func TestPathIsPassedOnAsItWasWritten(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	heads := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heads <- r.RequestURI + " " + r.Header.Get("X-Evil")
		http.Error(w, "no", http.StatusNotFound)
	}))
	defer s.Close()
	f.add("a1", s.Listener.Addr().String())
	_, address, _ := serve(t, patient(), f)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	path := "/v1/ws%20HTTP/1.1%0d%0aX-Evil:%20yes%0d%0aY:%20"
	fmt.Fprintf(conn, "GET %s?%s HTTP/1.1\r\nHost: x\r\n\r\n", path, secrets.Sign(ticket("a", "room")))
	if got := <-heads; got != path+" " {
		t.Errorf("the instance read %q", got)
	}
	answer, _ := io.ReadAll(conn) // which ends: who is not let in is not kept
	if !strings.HasPrefix(string(answer), "HTTP/1.1 404 ") {
		t.Errorf("%q", answer)
	}
}

func TestOnlyAGetIsAnUpgrade(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.echo(t, "a1")
	_, address, d := serve(t, patient(), f)
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodOptions, http.MethodConnect} {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+"/v1/ws?"+secrets.Sign(ticket("a", "room")), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, answer.Status)
		}
	}
	if n := d.count(); n != 0 {
		t.Errorf("%d dials", n)
	}
}
