// Package brokertest gives tests real NATS servers, and links to them that can be cut. It is for tests only.
package brokertest

import (
	"context"
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
