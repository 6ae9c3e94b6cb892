package edge

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What these tests hold are moments that real servers rarely show: an answer that is lost, a message that comes back late.
// So the directory and the courier are fakes, and time is fake; the promises on real ones are in the folder tests.

// directoryFake is a directory in memory. A hook may turn the answer of a call that was carried out into an error.
type directoryFake struct {
	restored chan struct{}
	missed   chan struct{}
	doubted  atomic.Bool // it may have lost entries

	mu        sync.Mutex
	records   map[contracts.Address]map[contracts.SessionID]contracts.Entry
	watchers  []contracts.NodeID
	connected func(contracts.Address) error
	gone      func(contracts.Address) error
}

func (d *directoryFake) Connect(_ context.Context, a contracts.Address, e contracts.Entry) ([]contracts.Entry, []contracts.NodeID, error) {
	d.mu.Lock()
	others := slices.Collect(maps.Values(d.records[a]))
	d.put(a, e)
	hook, watchers := d.connected, d.watchers
	d.mu.Unlock()
	if hook != nil {
		if err := hook(a); err != nil {
			return nil, nil, err
		}
	}
	return others, watchers, nil
}

func (d *directoryFake) put(a contracts.Address, e contracts.Entry) {
	if d.records[a] == nil {
		d.records[a] = map[contracts.SessionID]contracts.Entry{}
	}
	d.records[a][e.Session] = e
}

func (d *directoryFake) Disconnect(_ context.Context, a contracts.Address, s contracts.SessionID) ([]contracts.NodeID, error) {
	d.mu.Lock()
	delete(d.records[a], s)
	hook, watchers := d.gone, d.watchers
	d.mu.Unlock()
	if hook != nil {
		if err := hook(a); err != nil {
			return nil, err
		}
	}
	return watchers, nil
}

func (d *directoryFake) Lookup(_ context.Context, as []contracts.Address) ([][]contracts.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := make([][]contracts.Entry, len(as))
	for i, a := range as {
		found[i] = slices.Collect(maps.Values(d.records[a]))
	}
	return found, nil
}

func (d *directoryFake) Trusted() bool             { return !d.doubted.Load() }
func (*directoryFake) Alive() []contracts.Peer     { return nil }
func (*directoryFake) Listed() bool                { return true }
func (*directoryFake) Met(contracts.Peer) bool     { return false }
func (d *directoryFake) Restored() <-chan struct{} { return d.restored }
func (d *directoryFake) Missed() <-chan struct{}   { return d.missed }

// moved makes a client be on one other node.
func (d *directoryFake) moved(c contracts.ClientID, n contracts.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.records, c.Address())
	d.put(c.Address(), contracts.Entry{Session: contracts.NewSessionID(), Node: n})
}

// entries is how many entries an address has.
func (d *directoryFake) entries(a contracts.Address) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.records[a])
}

// wipe empties the directory.
func (d *directoryFake) wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.records)
}

// hooks sets what becomes of calls.
func (d *directoryFake) hooks(connected, gone func(contracts.Address) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connected, d.gone = connected, gone
}

// parcel is a frame on its way to another node.
type parcel struct {
	node  contracts.NodeID
	frame string
	w     broker.Waiter
	id    uint64
}

// courierFake keeps what it is given, until the test answers it.
type courierFake struct {
	mu      sync.Mutex
	parcels []parcel
	told    []contracts.NodeID
	forgets []contracts.NodeID
	deaf    contracts.NodeID // does not answer when it is told
}

func (c *courierFake) Send(n contracts.NodeID, _ contracts.Address, frame []byte, w broker.Waiter, id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parcels = append(c.parcels, parcel{n, string(frame), w, id})
}

func (c *courierFake) Changed(n contracts.NodeID, _ contracts.Address, w broker.Waiter, id uint64) {
	c.mu.Lock()
	c.told = append(c.told, n)
	deaf := c.deaf == n
	c.mu.Unlock()
	if deaf {
		w.Answered(id, contracts.StatusTimeout)
		return
	}
	w.Answered(id, contracts.StatusDelivered)
}

func (c *courierFake) Forget(n contracts.NodeID, w broker.Waiter, id uint64) {
	c.mu.Lock()
	c.forgets = append(c.forgets, n)
	deaf := c.deaf == n
	c.mu.Unlock()
	if deaf {
		w.Answered(id, contracts.StatusNobody)
		return
	}
	w.Answered(id, contracts.StatusDelivered)
}

// deafTo makes a node hear nothing.
func (c *courierFake) deafTo(n contracts.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = n
}

// toldTo is how often a node was told of a change.
func (c *courierFake) toldTo(n contracts.NodeID) (times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.told {
		if x == n {
			times++
		}
	}
	return times
}

// forgotten returns who was told to forget, in order.
func (c *courierFake) forgotten() []contracts.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.forgets)
}

func (*courierFake) Probe(_ contracts.NodeID, _ contracts.Address, w broker.Waiter, id uint64) {
	w.Answered(id, contracts.StatusNotHere)
}

func (*courierFake) Members(_ contracts.NodeID, _ contracts.MembersQuery, w broker.DataWaiter, id uint64) {
	w.Answered(id, contracts.StatusNotHere)
}

func (*courierFake) Evict(_ contracts.NodeID, _ contracts.ClientID, _ contracts.SessionID, _ contracts.CloseCode, w broker.Waiter, id uint64) {
	w.Answered(id, contracts.StatusNotHere)
}

func (*courierFake) Begin() {}
func (*courierFake) End()   {}

// take returns what is on its way, in order.
func (c *courierFake) take() []parcel {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.parcels
	c.parcels = nil
	return all
}

// connectionFake takes every frame at once.
type connectionFake struct{ s *Session }

func (c *connectionFake) attach(s *Session)                 { c.s = s }
func (c *connectionFake) Write([]byte) bool                 { go c.s.written(); return false }
func (c *connectionFake) Ping()                             {}
func (c *connectionFake) Close(contracts.CloseCode, string) { c.Cut() }
func (c *connectionFake) Cut()                              { go c.s.disconnected() }

type everything struct{}

func (everything) Allows(string) bool { return true }

// bubble runs a test of an edge in fake time.
func bubble(t *testing.T, f func(t *testing.T, e *Edge, d *directoryFake, c *courierFake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &directoryFake{restored: make(chan struct{}, 1), records: map[contracts.Address]map[contracts.SessionID]contracts.Entry{}}
		c := &courierFake{}
		e := New(DefaultConfig(), Options{Cluster: "a", Node: "a1", Epoch: 1, Directory: d, Blip: time.Second})
		e.Start(t.Context(), c)
		f(t, e, d, c)
		d.hooks(nil, nil)
		e.Close(context.WithoutCancel(t.Context()))
	})
}

// connect logs a client in.
func connect(e *Edge, name contracts.ClientID) *Session {
	e.open.Add(1)
	e.strange.Add(1)
	s := newSession(e, &connectionFake{})
	s.login(Identity{Client: name, Send: everything{}, Watch: everything{}, Groups: everything{}}, "")
	return s
}
