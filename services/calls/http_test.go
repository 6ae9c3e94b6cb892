package calls

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// serveAt answers calls with a name at an address, until the test or what it returns ends it.
func serveAt(t *testing.T, address, name string) *httptest.Server {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "%q", name) }))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// overHTTP is a dispatcher for a service at these addresses.
func overHTTP(t *testing.T, table *tableFake, addresses ...string) *rig {
	t.Helper()
	r := newRig(t, table, func(c *Config) {
		c.Services = map[contracts.ServiceName]Service{"s": {HTTP: addresses, Timeout: 20 * time.Second}}
	})
	t.Cleanup(r.Close)
	return r
}

// wait makes a call, and waits for its end.
func (r *rig) wait(c contracts.Call) ending {
	c.Service, c.Data = "s", []byte("1")
	told := make(chan ending, 1)
	r.Call(c, contracts.Task{Client: "alice", Session: "00112233445566778899aabbccddeeff", ID: 1}, func(o contracts.CallOutcome, data []byte, problem *contracts.Error) {
		told <- ending{o, string(data), problem}
	})
	return <-told
}

func TestAKeyThatOneNodeHasMovedFromATargetIsAtOnePlace(t *testing.T) {
	t.Parallel()
	servers := map[string]*httptest.Server{}
	var addresses []string
	for _, name := range []string{`"x"`, `"y"`} {
		servers[name] = serveAt(t, "127.0.0.1:0", name[1:2])
		addresses = append(addresses, servers[name].URL)
	}
	table := &tableFake{has: map[contracts.CallKey]contracts.InstanceID{}}
	one, two := overHTTP(t, table, addresses...), overHTTP(t, table, addresses...)
	one.bus.heard = two.Missed
	c := contracts.Call{Key: "k", Idempotent: true}
	was := one.wait(c).data
	if got := two.wait(c).data; got != was {
		t.Fatalf("at first the key is at %s, and at %s", was, got)
	}
	address := servers[was].Listener.Addr().String()
	servers[was].Close()
	moved := one.wait(c)
	if moved.outcome != contracts.CallAnswered || moved.data == was {
		t.Fatalf("while %s is away: %+v", was, moved)
	}
	serveAt(t, address, was[1:2])
	if got := two.wait(c).data; got != moved.data {
		t.Errorf("for one node the key is at %s, for another at %s", moved.data, got)
	}
}

func TestAHandshakeWithoutAnAnswerEnds(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := overHTTP(t, &tableFake{}, "https://"+l.Addr().String())
	told := make(chan ending, 1)
	go func() { told <- r.wait(contracts.Call{Timeout: 10 * time.Millisecond}) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if e := <-told; e.outcome != contracts.CallTimeout {
		t.Errorf("%+v", e)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for b := make([]byte, 4096); err == nil; _, err = conn.Read(b) {
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open after the call has ended")
	}
}

func TestATargetThatIsGoneIsNamedInTheLog(t *testing.T) {
	t.Parallel()
	s := serveAt(t, "127.0.0.1:0", "x")
	host := s.Listener.Addr().String()
	r := overHTTP(t, &tableFake{has: map[contracts.CallKey]contracts.InstanceID{}}, "http://user:secret@"+host+"/rpc?token=secret")
	var lines bytes.Buffer
	r.log = slog.New(slog.NewTextHandler(&lines, nil))
	s.Close()
	if got := r.wait(contracts.Call{}); got.outcome == contracts.CallAnswered {
		t.Fatalf("it is still there: %+v", got)
	}
	if text := lines.String(); !strings.Contains(text, host) || !strings.Contains(text, "takes no connection") || strings.Contains(text, "secret") {
		t.Errorf("logged %q", text)
	}
}
