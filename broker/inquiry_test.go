package broker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
)

func respond(t *testing.T, url string, answer func([]byte, func([]byte))) {
	t.Helper()
	r, err := brokertest.Connect(t, url).Respond(contracts.PresenceSubject("b"), answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
}

// ask asks until somebody answers: a subscription takes a moment to be known, in another cluster in particular.
func ask(t *testing.T, c *broker.Conn) string {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		answer, err := c.Ask(ctx, contracts.PresenceSubject("b"), []byte("?"), 100*time.Millisecond)
		cancel()
		switch {
		case err == nil:
			return string(answer)
		case !errors.Is(err, broker.ErrNobody) && !errors.Is(err, context.DeadlineExceeded): // all tries went to the hanging one
			t.Fatal(err)
		}
		<-time.After(time.Millisecond)
	}
}

func TestQuestionIsAnsweredAlthoughOneOfThoseAskedHangs(t *testing.T) {
	t.Parallel()
	one, other, _ := brokertest.Linked(t)
	var hung atomic.Int64
	respond(t, other.URL(), func(_ []byte, reply func([]byte)) { reply([]byte("here")) })
	respond(t, other.URL(), func([]byte, func([]byte)) { hung.Add(1) })
	c := brokertest.Connect(t, one.URL())
	for hung.Load() < 3 { // the hanging one gets about half of them
		if got := ask(t, c); got != "here" {
			t.Fatal(got)
		}
	}
}

func TestQuestionToNobodyFailsAtOnce(t *testing.T) {
	t.Parallel()
	c := brokertest.Connect(t, brokertest.New(t).URL())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	if _, err := c.Ask(ctx, contracts.PresenceSubject("b"), []byte("?"), 100*time.Millisecond); !errors.Is(err, broker.ErrNobody) {
		t.Error(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("after %v", took)
	}
}

func TestNodesOfLinkedClustersReachEachOtherAndLearnWhenThereIsNobody(t *testing.T) {
	t.Parallel()
	one, other, link := brokertest.Linked(t)
	a := join(t, one.URL(), "a1", 1, contracts.StatusDelivered, 300*time.Millisecond)
	conn := brokertest.Connect(t, other.URL())
	b := &node{status: contracts.StatusDelivered, frames: map[contracts.Address][]string{}}
	bus, err := broker.OpenBus(t.Context(), conn, broker.BusConfig{Cluster: "b", Node: "b1", Epoch: 2, AnswerTime: 300 * time.Millisecond}, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	send := func(from *broker.Bus, to contracts.NodeID) contracts.Status {
		w := make(status, 1)
		from.Send(to, bob, []byte("1\n"), w, 0)
		return <-w
	}
	for send(a.bus, "b.b1") != contracts.StatusDelivered || send(bus, "a.a1") != contracts.StatusDelivered {
		<-time.After(time.Millisecond) // until the link is there
	}
	if len(b.met) != 1 || b.met[0].Node != "a.a1" {
		t.Errorf("b1 met %v", b.met)
	}
	if got := send(a.bus, "b.b2"); got != contracts.StatusNobody {
		t.Errorf("to a node that is not there: %v", got)
	}
	link.Cut()
	for send(a.bus, "b.b1") != contracts.StatusNobody {
		<-time.After(time.Millisecond)
	}
}

// status is a waiter for one answer.
type status chan contracts.Status

func (s status) Answered(_ uint64, st contracts.Status) { s <- st }
