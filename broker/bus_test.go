package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var bob = contracts.ClientID("bob").Address()

// node is one end of the bus in these tests: it keeps what arrives, and answers as told.
type node struct {
	bus    *broker.Bus
	status contracts.Status // 0: does not answer

	mu     sync.Mutex
	frames map[contracts.Address][]string
	ended  []contracts.SessionID
	met    []contracts.Peer
	forgot int
}

func (n *node) Message(to contracts.Address, frame []byte, w broker.Waiter, id uint64) {
	n.mu.Lock()
	n.frames[to] = append(n.frames[to], string(frame))
	n.mu.Unlock()
	if n.status != 0 {
		w.Answered(id, n.status)
	}
}

func (n *node) Evict(_ contracts.ClientID, s contracts.SessionID, _ contracts.CloseCode, w broker.Waiter, id uint64) {
	n.mu.Lock()
	n.ended = append(n.ended, s)
	n.mu.Unlock()
	w.Answered(id, contracts.StatusDelivered)
}

func (n *node) Changed(_ contracts.Address, w broker.Waiter, id uint64) {
	w.Answered(id, contracts.StatusDelivered)
}

func (n *node) Probe(a contracts.Address, w broker.Waiter, id uint64) {
	if len(n.got(contracts.ClientID(a.ID))) > 0 {
		w.Answered(id, contracts.StatusDelivered)
		return
	}
	w.Answered(id, contracts.StatusNotHere)
}

func (n *node) Members(q contracts.MembersQuery, w broker.DataWaiter, id uint64) {
	w.Data(id, contracts.AppendNames(nil, []contracts.ClientID{q.After, contracts.ClientID(q.Group)}))
}

func (n *node) Met(p contracts.Peer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.met = append(n.met, p)
}

func (n *node) Forget(w broker.Waiter, id uint64) {
	n.mu.Lock()
	n.forgot++
	n.mu.Unlock()
	w.Answered(id, contracts.StatusDelivered)
}

func (*node) Begin() {}
func (*node) End()   {}

func (n *node) got(to contracts.ClientID) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.frames[to.Address()])
}

func join(t *testing.T, url string, id contracts.NodeID, epoch contracts.Epoch, status contracts.Status, wait time.Duration) *node {
	t.Helper()
	n := &node{status: status, frames: map[contracts.Address][]string{}}
	conn := brokertest.Connect(t, url)
	var err error
	n.bus, err = broker.OpenBus(t.Context(), conn, broker.BusConfig{Cluster: "a", Node: id, Epoch: epoch, AnswerTime: wait}, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.bus.Close)
	return n
}

// answers collects what waiters are told, each id once.
type answers struct {
	t    *testing.T
	want int
	done chan struct{}

	mu  sync.Mutex
	got map[uint64]contracts.Status
}

func newAnswers(t *testing.T, want int) *answers {
	t.Helper()
	return &answers{t: t, want: want, done: make(chan struct{}), got: map[uint64]contracts.Status{}}
}

func (a *answers) Answered(id uint64, s contracts.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if before, twice := a.got[id]; twice {
		a.t.Errorf("record %d was answered twice: %v, then %v", id, before, s)
	}
	a.got[id] = s
	if len(a.got) == a.want {
		close(a.done)
	}
}

func (a *answers) all(s contracts.Status) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 10*time.Second)
	defer cancel()
	select {
	case <-a.done:
	case <-ctx.Done():
		a.t.Fatalf("%d of %d records were answered", len(a.got), a.want)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, got := range a.got {
		if got != s {
			a.t.Fatalf("record %d was answered %v, not %v", id, got, s)
		}
	}
}

func TestRecordsArriveInOrderAndAreAnsweredOnce(t *testing.T) {
	t.Parallel()
	server := brokertest.New(t)
	one := join(t, server.URL(), "a1", 1, contracts.StatusDelivered, 5*time.Second)
	two := join(t, server.URL(), "a2", 2, contracts.StatusDelivered, 5*time.Second)
	const clients, each = 20, 500
	a := newAnswers(t, clients*each)
	var senders sync.WaitGroup
	for c := range clients {
		senders.Go(func() {
			to := contracts.ClientID(fmt.Sprint("client-", c))
			one.bus.Begin()
			defer one.bus.End()
			for i := range each {
				one.bus.Send("a2", to.Address(), fmt.Appendf(nil, "%d\n", i), a, uint64(c*each+i))
			}
		})
	}
	senders.Wait()
	a.all(contracts.StatusDelivered)
	for c := range clients {
		got := two.got(contracts.ClientID(fmt.Sprint("client-", c)))
		for i := range each {
			if got[i] != fmt.Sprintln(i) {
				t.Fatalf("client %d: frame %d is %q", c, i, got[i])
			}
		}
	}
	if s := one.bus.Stats(); s.Sent >= clients*each {
		t.Errorf("%d node messages for %d records: nothing was gathered", s.Sent, clients*each)
	}
}

func TestNodeIsMetOncePerStart(t *testing.T) {
	t.Parallel()
	server := brokertest.New(t)
	one := join(t, server.URL(), "a1", 1, contracts.StatusDelivered, 5*time.Second)
	for epoch := range contracts.Epoch(2) {
		two := join(t, server.URL(), "a2", 2+epoch, contracts.StatusDelivered, 5*time.Second)
		a := newAnswers(t, 3)
		for i := range uint64(3) {
			two.bus.Send("a1", bob, []byte("{}\n"), a, i)
		}
		a.all(contracts.StatusDelivered)
		two.bus.Close()
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if want := []contracts.Peer{{Node: "a2", Epoch: 2}, {Node: "a2", Epoch: 3}}; !slices.Equal(one.met, want) {
		t.Errorf("met %v, not %v", one.met, want)
	}
}

func TestNodeThatIsNotThereIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	server := brokertest.New(t)
	one := join(t, server.URL(), "a1", 1, contracts.StatusDelivered, time.Hour)
	a := newAnswers(t, 100)
	for i := range 100 {
		one.bus.Send("a9", bob, []byte("{}\n"), a, uint64(i))
	}
	a.all(contracts.StatusNobody)
}

func TestSilentNodeIsATimeout(t *testing.T) {
	t.Parallel()
	server := brokertest.New(t)
	one := join(t, server.URL(), "a1", 1, contracts.StatusDelivered, 50*time.Millisecond)
	silent := join(t, server.URL(), "a2", 2, 0, time.Hour)
	a := newAnswers(t, 100)
	for i := range 100 {
		one.bus.Send("a2", bob, []byte("{}\n"), a, uint64(i))
	}
	a.all(contracts.StatusTimeout)
	if len(silent.got("bob")) != 100 {
		t.Fatal("the silent node did not get the frames: the test shows nothing")
	}
}

func TestCutConnectionIsUnavailableAtOnceAndHeals(t *testing.T) {
	t.Parallel()
	server := brokertest.New(t)
	link := brokertest.NewLink(t, server.URL())
	one := join(t, "nats://"+link.Addr(), "a1", 1, contracts.StatusDelivered, 100*time.Millisecond)
	join(t, server.URL(), "a2", 2, contracts.StatusDelivered, time.Hour)
	send := func() contracts.Status {
		a := newAnswers(t, 1)
		one.bus.Send("a2", bob, []byte("{}\n"), a, 0)
		<-a.done
		return a.got[0]
	}
	if s := send(); s != contracts.StatusDelivered {
		t.Fatal("before the cut:", s)
	}
	link.Cut()
	eventually(t, "sends are unavailable", func() bool { return send() == contracts.StatusUnavailable })
	if link.Broken() == 0 {
		t.Fatal("the link was not cut")
	}
	link.Restore()
	eventually(t, "sends arrive again", func() bool { return send() == contracts.StatusDelivered })
}

func TestChangeOfTheConnectionIsTold(t *testing.T) {
	t.Parallel()
	link := brokertest.NewLink(t, brokertest.New(t).URL())
	conn := brokertest.Connect(t, "nats://"+link.Addr())
	changed := func(connected bool) {
		t.Helper()
		select {
		case <-conn.Changed():
		case <-time.After(20 * time.Second):
			t.Fatal("it is not told")
		}
		if conn.Connected() != connected {
			t.Errorf("told, and connected: %v", conn.Connected())
		}
	}
	link.Cut()
	changed(false)
	link.Restore()
	changed(true)
}

func TestAnswersForAPredecessorAreNotTaken(t *testing.T) {
	t.Parallel()
	server := brokertest.New(t)
	holder := make(chan func(), 1)
	late := &lateNode{answer: holder}
	conn := brokertest.Connect(t, server.URL())
	bus, err := broker.OpenBus(t.Context(), conn, broker.BusConfig{Cluster: "a", Node: "a2", Epoch: 2, AnswerTime: time.Hour}, late)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)

	first := join(t, server.URL(), "a1", 10, contracts.StatusDelivered, time.Hour)
	lost := newAnswers(t, 1)
	first.bus.Send("a2", bob, []byte("1\n"), lost, 0)
	answerFirst := <-holder
	first.bus.Close() // dies before the answer, and comes back
	second := join(t, server.URL(), "a1", 11, contracts.StatusDelivered, 200*time.Millisecond)
	a := newAnswers(t, 1)
	second.bus.Send("a2", bob, []byte("2\n"), a, 0) // has the number that the first one had
	<-holder
	answerFirst()
	a.all(contracts.StatusTimeout)
}

// lateNode hands out a function for each message that answers it.
type lateNode struct{ answer chan func() }

func (n *lateNode) Message(_ contracts.Address, _ []byte, w broker.Waiter, id uint64) {
	n.answer <- func() { w.Answered(id, contracts.StatusDelivered) }
}

func (*lateNode) Changed(contracts.Address, broker.Waiter, uint64) {}
func (*lateNode) Forget(broker.Waiter, uint64)                     {}
func (*lateNode) Met(contracts.Peer)                               {}
func (*lateNode) Probe(contracts.Address, broker.Waiter, uint64)   {}

func (*lateNode) Members(contracts.MembersQuery, broker.DataWaiter, uint64) {}

func (*lateNode) Begin() {}
func (*lateNode) End()   {}
func (*lateNode) Evict(contracts.ClientID, contracts.SessionID, contracts.CloseCode, broker.Waiter, uint64) {
}

func TestLargeFramesAreNotCutByGathering(t *testing.T) {
	t.Parallel()
	server := brokertest.New(t)
	one := join(t, server.URL(), "a1", 1, contracts.StatusDelivered, 5*time.Second)
	two := join(t, server.URL(), "a2", 2, contracts.StatusDelivered, 5*time.Second)
	frame := []byte(strings.Repeat("x", contracts.MaxMaxFrame-1) + "\n")
	a := newAnswers(t, 20)
	for i := range 20 {
		one.bus.Send("a2", bob, frame, a, uint64(i))
	}
	a.all(contracts.StatusDelivered)
	for _, f := range two.got("bob") {
		if f != string(frame) {
			t.Fatal("a frame arrived changed")
		}
	}
}

// names is a waiter for data.
type names struct {
	*answers
	got []contracts.ClientID
}

func (n *names) Data(id uint64, data []byte) {
	n.got, _ = contracts.ReadNames(data)
	n.Answered(id, contracts.StatusDelivered)
}

func TestQuestionIsAnsweredWithData(t *testing.T) {
	t.Parallel()
	server := brokertest.New(t)
	one := join(t, server.URL(), "a1", 1, contracts.StatusDelivered, 5*time.Second)
	join(t, server.URL(), "a2", 2, contracts.StatusDelivered, 5*time.Second)
	n := &names{answers: newAnswers(t, 1)}
	one.bus.Members("a2", contracts.MembersQuery{Group: "room", After: "ann", Limit: 7}, n, 0)
	n.all(contracts.StatusDelivered)
	if !slices.Equal(n.got, []contracts.ClientID{"ann", "room"}) {
		t.Errorf("got %v", n.got)
	}
	lost := &names{answers: newAnswers(t, 1)}
	one.bus.Members("a9", contracts.MembersQuery{Group: "room", Limit: 7}, lost, 0)
	lost.all(contracts.StatusNobody)
}

func TestWrongAddressIsOneSentence(t *testing.T) {
	t.Parallel()
	_, err := broker.Connect(t.Context(), broker.Config{URLs: []string{"nats://127.0.0.1:1"}})
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "nats://127.0.0.1:1") {
		t.Fatalf("got %v", err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("never: " + what)
		case <-time.After(time.Millisecond):
		}
	}
}
