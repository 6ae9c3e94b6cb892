package embedded_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/broker/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a server that ends with the test.
func start(t *testing.T, o embedded.Options) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// connect returns a connection that ends with the test, before its server does.
func connect(t *testing.T, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// echo sends one message through the server and back.
func echo(t *testing.T, nc *nats.Conn) {
	t.Helper()
	got := make(chan string, 1)
	if _, err := nc.Subscribe("x", func(m *nats.Msg) { got <- string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("x", []byte("hi")); err != nil {
		t.Fatal(err)
	}
	select {
	case data := <-got:
		if data != "hi" {
			t.Fatalf("got %q", data)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the message did not come back")
	}
}

func TestListensOnAFreeLoopbackPort(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{})
	if !strings.HasPrefix(s.URL(), "nats://127.0.0.1:") {
		t.Fatalf("URL is %q", s.URL())
	}
	echo(t, connect(t, s.URL()))
}

func TestShutdownFreesThePortForTheNext(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{})
	_, portText, _ := strings.Cut(strings.TrimPrefix(s.URL(), "nats://"), ":")
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
	s.Shutdown() // nothing happens
	again := start(t, embedded.Options{Port: port})
	if again.URL() != s.URL() {
		t.Fatalf("asked for the port of %s, got %s", s.URL(), again.URL())
	}
}

func TestATakenPortIsNamed(t *testing.T) {
	t.Parallel()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = embedded.Start(embedded.Options{Port: port})
	if !errors.Is(err, embedded.ErrStart) || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Fatalf("got %v", err)
	}
}

func TestRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]embedded.Options{
		"port below": {Port: -2},
		"port above": {Port: 65536},
		"store":      {StoreDir: filepath.Join(file, "store")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := embedded.Start(o); !errors.Is(err, embedded.ErrStart) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestStoreDirTurnsJetStreamOn(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for name, test := range map[string]struct {
		dir string
		on  bool
	}{"with": {t.TempDir(), true}, "without": {"", false}} {
		s := start(t, embedded.Options{StoreDir: test.dir})
		js, err := jetstream.New(connect(t, s.URL()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.AccountInfo(ctx); (err == nil) != test.on {
			t.Fatalf("%s a store: JetStream says %v", name, err)
		}
	}
}

func TestWorksInFakeTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, embedded.Options{DontListen: true, Name: "bubble"})
		if s.URL() != "" {
			t.Fatalf("it listens on %s", s.URL())
		}
		nc := connect(t, "", nats.InProcessServer(s))
		if nc.ConnectedServerName() != "bubble" {
			t.Fatalf("connected to %q", nc.ConnectedServerName())
		}
		echo(t, nc)
	})
}
