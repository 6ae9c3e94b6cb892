package edge

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// These are the steps of a message on its way through two edges, without sockets, NATS and Redis: what they allocate is
// what a message costs the collector. Its decoding and encoding are benchmarks in contracts.

// readyCourier answers at once.
type readyCourier struct{ courierFake }

func (*readyCourier) Send(_ contracts.NodeID, _ contracts.Address, _ []byte, w broker.Waiter, id uint64) {
	w.Answered(id, contracts.StatusDelivered)
}

// readyConnection writes at once.
type readyConnection struct{ connectionFake }

func (*readyConnection) Write([]byte) bool { return true }

func benchEdge(b *testing.B) (*Edge, *directoryFake) {
	b.Helper()
	cfg := DefaultConfig()
	cfg.MessageRate, cfg.ByteRate = 0, 0
	d := &directoryFake{restored: make(chan struct{}, 1), records: map[contracts.Address]map[contracts.SessionID]contracts.Entry{}}
	e := New(cfg, Options{Cluster: "a", Node: "a1", Epoch: 1, Directory: d})
	e.Start(b.Context(), &readyCourier{})
	b.Cleanup(func() { e.Close(context.WithoutCancel(b.Context())) })
	return e, d
}

func benchSession(b *testing.B, e *Edge, name contracts.ClientID) *Session {
	b.Helper()
	e.open.Add(1)
	e.strange.Add(1)
	c := &readyConnection{}
	s := newSession(e, c)
	c.s = s
	s.login(Identity{Client: name, Send: everything{}, Groups: everything{}}, "")
	for len(e.roster.of(name)) == 0 {
		<-time.After(time.Millisecond)
	}
	return s
}

// From the bytes of a send request to its answer: decode, check, route by the cache, hand to the courier, answer.
func BenchmarkRoute(b *testing.B) {
	e, d := benchEdge(b)
	d.moved("bob", "a2")
	alice := benchSession(b, e, "alice")
	frame := contracts.AppendSend(nil, 1, "bob", []byte(fmt.Sprintf(`"%0126d"`, 1)))
	alice.handle(frame)
	for alice.inFlight.Load() > 0 {
		<-time.After(time.Millisecond)
	}
	b.ReportAllocs()
	for b.Loop() {
		alice.handle(frame)
	}
	if n := alice.inFlight.Load(); n != 0 {
		b.Fatalf("%d messages have no answer", n)
	}
}

// From a record of another node to the write, and the answer to that node.
func BenchmarkDeliver(b *testing.B) {
	e, _ := benchEdge(b)
	benchSession(b, e, "bob")
	frame := contracts.EncodeMsg("alice", []byte(fmt.Sprintf(`"%0126d"`, 1)))
	to := contracts.ClientID("bob").Address()
	b.ReportAllocs()
	for b.Loop() {
		e.Begin()
		e.Message(to, frame, ignored{}, 1)
		e.End()
	}
}

// A message for 100 members of a group on this node: what one of them costs is a hundredth of it.
func BenchmarkFanOut(b *testing.B) {
	e, _ := benchEdge(b)
	for i := range 100 {
		s := benchSession(b, e, contracts.ClientID(fmt.Sprint("c", i)))
		s.handle(contracts.AppendGroup(nil, 1, contracts.OpJoin, "room"))
	}
	for !e.groups.has("room") {
		<-time.After(time.Millisecond)
	}
	frame := contracts.EncodeGroupMsg("alice", "room", []byte(fmt.Sprintf(`"%0126d"`, 1)))
	to := contracts.GroupName("room").Address()
	b.ReportAllocs()
	for b.Loop() {
		e.Begin()
		e.Message(to, frame, ignored{}, 1)
		e.End()
	}
}

// What a frame costs on a socket beyond the kernel: the direct write against a write of Go's net package.
func BenchmarkWrite(b *testing.B) {
	pair := func(b *testing.B) net.Conn {
		b.Helper()
		ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a benchmark
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		client, err := net.Dial("tcp", ln.Addr().String()) //nolint:noctx // a benchmark
		if err != nil {
			b.Fatal(err)
		}
		server, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			buf := make([]byte, 1<<16)
			for {
				if _, err := client.Read(buf); err != nil {
					return
				}
			}
		}()
		b.Cleanup(func() {
			_ = server.Close()
			_ = client.Close()
		})
		return server
	}
	buf := make([]byte, headroom+160)
	b.Run("direct", func(b *testing.B) {
		w := newWire(pair(b), webSocketFraming)
		b.ReportAllocs()
		done := make(chan struct{})
		run, ended := func(f func()) { go f() }, func(error) { done <- struct{}{} }
		for b.Loop() {
			if !w.write(buf, time.Second, run, ended) {
				<-done
			}
		}
	})
	b.Run("net", func(b *testing.B) {
		c := pair(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
