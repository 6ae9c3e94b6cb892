package tests

import (
	"fmt"
	"sync"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

func TestClientsOnDifferentNodesTalk(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	alice, bob := f.Dial(0, "alice"), f.Dial(1, "bob")
	if got := alice.Send("bob", `{"hi":1}`); got != "delivered" {
		t.Fatal(got)
	}
	bob.Expect("alice", `{"hi":1}`)
	if got := bob.Send("alice", `[ 1.0, "ä\u00e4" ]`); got != "delivered" {
		t.Fatal(got)
	}
	alice.Expect("bob", `[ 1.0, "ä\u00e4" ]`) // byte for byte
}

func TestAbsentRecipientIsOffline(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	alice := f.Dial(0, "alice")
	if got := alice.Send("nobody", `1`); got != "offline" {
		t.Fatal(got)
	}
	bob := f.Dial(1, "bob")
	bob.Close()
	fleet.Eventually(t, "bob is offline", func() bool { return alice.Send("bob", `1`) == "offline" })
}

func TestSameNodeNeedsNoBroker(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	alice, bob, eve := f.Dial(0, "alice"), f.Dial(0, "bob"), f.Dial(1, "eve")
	before := f.Nodes[0].Value("beeline_bus_sent_total")
	f.Nodes[0].NATSLink.Cut()
	for i := range 100 {
		data := fmt.Sprint(i)
		if got := alice.Send("bob", data); got != "delivered" {
			t.Fatal(got)
		}
		bob.Expect("alice", data)
	}
	if sent := f.Nodes[0].Value("beeline_bus_sent_total"); sent != before {
		t.Fatalf("%v node messages were sent", sent-before)
	}
	fleet.Eventually(t, "sends to the other node are refused", func() bool { return alice.Send("eve", `1`) == "unavailable" })
	if f.Nodes[0].NATSLink.Broken() == 0 {
		t.Fatal("NATS was not cut off")
	}
	f.Nodes[0].NATSLink.Restore()
	fleet.Eventually(t, "sends to the other node arrive again", func() bool { return alice.Send("eve", `2`) == "delivered" })
	_ = eve
}

func TestEverySessionOfAClientGetsTheMessage(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3)
	alice := f.Dial(0, "alice")
	bobs := []*fleet.Client{f.Dial(0, "bob"), f.Dial(1, "bob"), f.Dial(1, "bob"), f.Dial(2, "bob")}
	if got := alice.Send("bob", `"all"`); got != "delivered" {
		t.Fatal(got)
	}
	for _, b := range bobs {
		b.Expect("alice", `"all"`)
	}
	bobs[0].Close()
	bobs[3].Close()
	fleet.Eventually(t, "two sessions are left", func() bool {
		return f.Nodes[0].Value("beeline_edge_sessions") == 1 && f.Nodes[2].Value("beeline_edge_sessions") == 0
	})
	if got := alice.Send("bob", `"rest"`); got != "delivered" {
		t.Fatal(got)
	}
	bobs[1].Expect("alice", `"rest"`)
	bobs[2].Expect("alice", `"rest"`)
}

func TestNewerSessionReplacesTheOlder(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, fleet.Configure(func(c *node.Config) { c.Edge.Sessions = edge.SessionsSingle }))
	alice := f.Dial(0, "alice")
	older := f.Dial(1, "bob")
	for round := range 20 {
		newer := f.Dial(round%2, "bob")
		if code := older.Closed(); code != int(contracts.CloseReplaced) {
			t.Fatalf("round %d: the older session was closed with %d", round, code)
		}
		data := fmt.Sprint(round)
		if got := alice.Send("bob", data); got != "delivered" {
			t.Fatal(got)
		}
		newer.Expect("alice", data)
		older = newer
	}
}

func TestMessagesFromOneSenderArriveInOrder(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3)
	const each = 3000
	recipients := []*fleet.Client{f.Dial(0, "r0"), f.Dial(1, "r1"), f.Dial(2, "r2")}
	alice := f.Dial(0, "alice")
	var answers sync.WaitGroup
	defer answers.Wait()
	answers.Go(func() {
		for range each * len(recipients) {
			if e, err := alice.TryNext(fleet.Patience); err != nil || e.OK == nil {
				t.Errorf("alice got %+v, %v", e.Error, err)
				return
			}
		}
	})
	// Many objects a frame, and no wait for answers but what the session's limit demands.
	var frame []byte
	for i := range each {
		for r := range recipients {
			frame = contracts.AppendSend(frame, uint64(i), contracts.ClientID(fmt.Sprint("r", r)), fmt.Append(nil, i))
		}
		if i%50 == 49 {
			alice.Raw(string(frame))
			frame = frame[:0]
			for _, r := range recipients {
				for j := i - 49; j <= i; j++ {
					r.Expect("alice", fmt.Sprint(j))
				}
			}
		}
	}
}

func TestSenderCannotNameItself(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	alice, bob := f.Dial(0, "alice"), f.Dial(0, "bob")
	alice.Raw(`{"id":1,"send":{"to":"bob","data":1,"from":"eve"}}`)
	if e := alice.Next(); e.Error == nil || e.Error.Code != contracts.CodeBadRequest {
		t.Fatalf("got %+v", e)
	}
	alice.Raw(`{"id":2,"from":"eve","send":{"to":"bob","data":2}}`)
	if e := alice.Next(); e.Error == nil || e.Error.Code != contracts.CodeBadRequest {
		t.Fatalf("got %+v", e)
	}
	if got := alice.Send("bob", `3`); got != "delivered" {
		t.Fatal(got)
	}
	bob.Expect("alice", `3`)
}

func TestPingIsAnswered(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	c := f.Connect(0, nil)
	c.Raw(`{"ping":{}}`) // before the log-in too
	if e := c.Next(); e.Pong == nil {
		t.Fatalf("got %+v", e)
	}
	c.Login("alice")
	c.Raw(`{"id":7,"ping":{}}`)
	if e := c.Next(); e.Pong == nil || e.ID == nil || *e.ID != 7 {
		t.Fatalf("got %+v", e)
	}
}
