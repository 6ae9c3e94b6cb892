// Package brokertest gives tests real NATS servers, and links to them that can be cut. It is for tests only.
package brokertest

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/embedded"
)

// New starts a NATS server on loopback for one test.
func New(tb testing.TB) *embedded.Server {
	tb.Helper()
	s, err := embedded.Start(embedded.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Shutdown)
	return s
}

// Linked starts two NATS servers that are joined as those of two clusters are, and the link between them.
func Linked(tb testing.TB) (one, other *embedded.Server, link *Link) {
	tb.Helper()
	// The server cannot tell which port it picks, so one is picked for it; another process may be faster.
	for range 5 {
		port := freePort(tb)
		var err error
		if one, err = embedded.Start(embedded.Options{Name: "one", LeafPort: port}); err != nil {
			tb.Log(err)
			continue
		}
		tb.Cleanup(one.Shutdown)
		link = NewLink(tb, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if other, err = embedded.Start(embedded.Options{Name: "other", LeafOf: []string{link.Addr()}}); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(other.Shutdown)
		return one, other, link
	}
	tb.Fatal("found no free port")
	return nil, nil, nil
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// Connect connects to a server, or to a link to one, for the length of the test.
func Connect(tb testing.TB, url string) *broker.Conn {
	tb.Helper()
	c, err := broker.Connect(tb.Context(), broker.Config{URLs: []string{url}, Name: tb.Name()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close(context.WithoutCancel(tb.Context())) })
	return c
}
