// Package brokertest gives tests real NATS servers, and links to them that can be cut. It is for tests only.
package brokertest

import (
	"context"
	"testing"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/embedded"
)

// New starts a NATS server on loopback for one test.
func New(t testing.TB) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// Connect connects to a server, or to a link to one, for the length of the test.
func Connect(t testing.TB, url string) *broker.Conn {
	t.Helper()
	c, err := broker.Connect(t.Context(), broker.Config{URLs: []string{url}, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.WithoutCancel(t.Context())) })
	return c
}
