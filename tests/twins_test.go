package tests

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/embedded"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/across"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/presence/presencetest"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// wired is nodes that a test wires by hand, so that it can take a protection away: presence, edge and broker are the
// production ones, and what is between them is a test's.
type wired struct {
	t        *testing.T
	nats     *embedded.Server
	mini     *presencetest.Mini
	nodes    [modelNodes]*wiredNode
	sabotage sabotage
}

type wiredNode struct {
	plug fleet.Plug
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	bury func()
}

func newWired(t *testing.T, s sabotage) *wired {
	t.Helper()
	nats, err := embedded.Start(embedded.Options{DontListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nats.Shutdown)
	mini := presencetest.StartMini(t)
	presencetest.Settle(t, mini.Config(), "a")
	presencetest.Settle(t, mini.Config(), "b")
	w := &wired{t: t, nats: nats, mini: mini, sabotage: s}
	t.Cleanup(func() {
		for _, n := range w.nodes {
			n.bury()
		}
	})
	return w
}

func (w *wired) redis() presence.Redis { return w.mini.Config() }

func (w *wired) dial(i int) *fleet.Client {
	c, _, err := fleet.ConnectURL(w.t, "ws://127.0.0.1:1"+node.ClientPath, nil, w.nodes[i].dial)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *wired) crash(i int) func() {
	w.nodes[i].plug.Pull()
	return w.nodes[i].bury
}

func (w *wired) start(i int) {
	n := new(wiredNode)
	id, epoch := contracts.NodeID(fmt.Sprint("a", i+1)), contracts.Epoch(time.Now().UnixNano())
	cluster, peers := contracts.ClusterName("a"), []contracts.ClusterName(nil)
	if w.sabotage.apart {
		peers = []contracts.ClusterName{"b"}
		if i == modelNodes-1 {
			cluster, peers = "b", []contracts.ClusterName{"a"}
		}
	}
	nats, to := broker.Config{InProcess: w.nats}, w.redis()
	n.plug.Into(&nats, &to)
	ctx := w.t.Context()
	conn, err := broker.Connect(ctx, nats)
	if err != nil {
		w.t.Fatal(err)
	}
	dir, err := presence.Open(ctx, presence.Config{Cluster: cluster, Node: id, Epoch: epoch, Redis: to})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := edge.DefaultConfig()
	cfg.AckTimeout = 2 * time.Second
	all := across.New(home(w.sabotage.home, dir), conn, across.Config{Cluster: cluster, Node: id, Peers: peers, Nobody: broker.ErrNobody})
	e := edge.New(cfg, edge.Options{
		Cluster: cluster, Node: id, Epoch: epoch, Directory: w.sabotage.directory(all), Auth: believing{},
	})
	if err := dir.Acquire(ctx); err != nil {
		w.t.Fatal(err)
	}
	bus, err := broker.OpenBus(ctx, conn, broker.BusConfig{Cluster: cluster, Node: id, Epoch: epoch, AnswerTime: cfg.AckTimeout}, e)
	if err != nil {
		w.t.Fatal(err)
	}
	all.Start(ctx)
	responder, err := conn.Respond(contracts.PresenceSubject(cluster), func(q []byte, reply func([]byte)) { all.Answer(context.WithoutCancel(ctx), q, reply) })
	if err != nil {
		w.t.Fatal(err)
	}
	e.Start(ctx, w.sabotage.courier(bus))
	listener, dial := fleet.NewPipes()
	n.dial = dial
	server := &http.Server{Handler: e.Handler(), ReadHeaderTimeout: time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	n.bury = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Close()
		serving.Wait()
		responder.Close()
		e.Close(ctx)
		bus.Close()
		all.Close()
		_ = dir.Close(ctx)
		conn.Close(ctx)
	})
	w.nodes[i] = n
}

// believing takes everybody at their word, and allows everything.
type believing struct{}

func (believing) Token(string) (edge.Identity, error) {
	return edge.Identity{}, errors.New("no tokens")
}
func (believing) Allows(string) bool { return true }
func (b believing) Name(c contracts.ClientID) (edge.Identity, error) {
	return edge.Identity{Client: c, Send: b, Watch: b, Groups: b}, nil
}

// sabotage takes a protection away.
type sabotage struct {
	name      string
	directory func(edge.Directory) edge.Directory
	courier   func(edge.Courier) edge.Courier
	plan      []step // by which it shows
	breaks    string // what it breaks

	apart bool                          // the last node is a cluster of its own
	home  func(across.Home) across.Home // nil: as it is
}

func home(change func(across.Home) across.Home, h across.Home) across.Home {
	if change == nil {
		return h
	}
	return change(h)
}

// unwatchedHome does not note who asks from another cluster.
type unwatchedHome struct{ across.Home }

func (h unwatchedHome) LookupFor(ctx context.Context, _ contracts.NodeID, as []contracts.Address) ([][]contracts.Entry, error) {
	return h.Home.LookupFor(ctx, "", as)
}

// aloofDirectory takes no note of nodes that it hears.
type aloofDirectory struct{ edge.Directory }

func (aloofDirectory) Met(contracts.Peer) bool { return false }

// silentCourier says that it has told of changes, and has not.
type silentCourier struct{ edge.Courier }

func (silentCourier) Changed(_ contracts.NodeID, _ contracts.Address, w broker.Waiter, id uint64) {
	w.Answered(id, contracts.StatusDelivered)
}

// impatientCourier does not wait until those that it tells of changes have heard it: it tells them much later.
type impatientCourier struct{ edge.Courier }

func (c impatientCourier) Changed(n contracts.NodeID, a contracts.Address, w broker.Waiter, id uint64) {
	w.Answered(id, contracts.StatusDelivered)
	time.AfterFunc(100*time.Millisecond, func() { c.Courier.Changed(n, a, nobody{}, 0) })
}

type nobody struct{}

func (nobody) Answered(uint64, contracts.Status) {}

// blindCourier does not say that there is nobody on a node, only that there was no answer.
type blindCourier struct{ edge.Courier }

func (c blindCourier) Send(n contracts.NodeID, to contracts.Address, frame []byte, w broker.Waiter, id uint64) {
	c.Courier.Send(n, to, frame, blindWaiter{w}, id)
}

type blindWaiter struct{ broker.Waiter }

func (w blindWaiter) Answered(id uint64, s contracts.Status) {
	if s == contracts.StatusNobody {
		s = contracts.StatusTimeout
	}
	w.Waiter.Answered(id, s)
}

// trustingDirectory takes what is missing from Redis for gone, always.
type trustingDirectory struct{ edge.Directory }

func (d trustingDirectory) Lookup(ctx context.Context, as []contracts.Address) ([][]contracts.Entry, error) {
	entries, err := d.Directory.Lookup(ctx, as)
	if errors.Is(err, presence.ErrUncertain) {
		err = nil
	}
	return entries, err
}

func (trustingDirectory) Trusted() bool { return true }

// forgetfulDirectory never says that entries were lost.
type forgetfulDirectory struct{ edge.Directory }

func (forgetfulDirectory) Restored() <-chan struct{} { return nil }

// greedyDirectory removes all sessions of a client when one ends.
type greedyDirectory struct{ edge.Directory }

func (d greedyDirectory) Disconnect(ctx context.Context, a contracts.Address, s contracts.SessionID) ([]contracts.NodeID, error) {
	entries, err := d.Lookup(ctx, []contracts.Address{a})
	if err != nil {
		return nil, err
	}
	for _, e := range entries[0] {
		if _, err := d.Directory.Disconnect(ctx, a, e.Session); err != nil {
			return nil, err
		}
	}
	return d.Directory.Disconnect(ctx, a, s)
}

func sameDirectory(d edge.Directory) edge.Directory { return d }
func sameCourier(c edge.Courier) edge.Courier       { return c }

// The residents are sessions 0 to 2, on the node of that number.
var (
	connectTwice = []step{
		{op: opConnect, a: 0, b: 1, rest: true},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
		{op: opConnect, a: 0, b: 2},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
	}
	wipeAndSend = []step{
		{op: opConnect, a: 0, b: 1, rest: true}, {op: opWipe}, {op: opSend, a: 0, b: 0, n: 1, rest: true},
	}
	wipeAndWait  = []step{{op: opConnect, a: 0, b: 1, rest: true}, {op: opWipe}, {op: opWait, a: 3, rest: true}}
	crashAndSend = []step{
		{op: opConnect, a: 0, b: 1, rest: true},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
		{op: opCrash, a: 1},
		{op: opWait, a: 3, rest: true},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
	}
	leaveOneOf2 = []step{
		{op: opConnect, a: 0, b: 1, rest: true}, {op: opConnect, a: 0, b: 2, rest: true}, {op: opLeave, a: 0, rest: true},
	}
)

var (
	silent    = func(c edge.Courier) edge.Courier { return silentCourier{c} }
	impatient = func(c edge.Courier) edge.Courier { return impatientCourier{c} }
	blind     = func(c edge.Courier) edge.Courier { return blindCourier{c} }
	trusting  = func(d edge.Directory) edge.Directory { return trustingDirectory{d} }
	forgetful = func(d edge.Directory) edge.Directory { return forgetfulDirectory{d} }
	greedy    = func(d edge.Directory) edge.Directory { return greedyDirectory{d} }
	aloof     = func(d edge.Directory) edge.Directory { return aloofDirectory{d} }
	unwatched = func(h across.Home) across.Home { return unwatchedHome{h} }
)

var sabotages = []sabotage{
	{name: "changes are not told", directory: sameDirectory, courier: silent, plan: connectTwice, breaks: promiseReady},
	{name: "ready does not wait for those who are told", directory: sameDirectory, courier: impatient, plan: connectTwice, breaks: promiseReady},
	{name: "an emptied Redis is believed", directory: trusting, courier: sameCourier, plan: wipeAndSend, breaks: promiseOnline},
	{name: "records are not written again", directory: forgetful, courier: sameCourier, plan: wipeAndWait, breaks: promiseRecord},
	{name: "no responders are not noticed", directory: sameDirectory, courier: blind, plan: crashAndSend, breaks: promiseOffline},
	{name: "a disconnect removes the whole record", directory: greedy, courier: sameCourier, plan: leaveOneOf2, breaks: promiseRecord},
	{name: "changes are not told across clusters", directory: sameDirectory, courier: silent, plan: connectTwice, breaks: promiseReady, apart: true},
	{name: "who asks across clusters is not noted", directory: sameDirectory, courier: sameCourier, plan: connectTwice, breaks: promiseReady, apart: true, home: unwatched},
	{name: "a cluster that is back is not noticed", directory: aloof, courier: sameCourier, plan: kept[onlyNode], breaks: promiseOnline, apart: true},
}

const onlyNode = "a cluster's only node starts again"

// TestModelSeesWhatIsBroken is the twins: without a protection the model reports the promise that it keeps, and with it,
// on the same nodes and by the same plan, nothing.
func TestModelSeesWhatIsBroken(t *testing.T) {
	t.Parallel()
	for _, s := range sabotages {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if broken := carryOut(t, s.plan, newWired(t, s)); !strings.HasPrefix(broken, s.breaks) {
					t.Errorf("the model reports %q, not %q", broken, s.breaks)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				if broken := carryOut(t, s.plan, newWired(t, sabotage{directory: sameDirectory, courier: sameCourier, apart: s.apart})); broken != "" {
					t.Errorf("with all protections: %s", broken)
				}
			})
		})
	}
}
