package presencetest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
)

// Backend is a Redis that directories are tried on.
type Backend struct {
	Config presence.Redis
	Client redis.UniversalClient // the test's own, to look at what is stored, and to spoil it
	Shared bool                  // others use it at the same time, so it is emptied key by key
}

// Run tries the promises of the directory on one kind of Redis. start is called once per promise, and may return the
// same backend each time: every promise has a cluster name of its own.
func Run(t *testing.T, start func(t *testing.T) Backend) {
	t.Helper()
	each(t, func(t *testing.T, promise func(*world)) {
		t.Helper()
		promise(newWorld(t, start(t)))
	})
}

// RunInBubbles does the same in synctest bubbles, in which time passes at once. There must be no real network in the
// backend.
func RunInBubbles(t *testing.T, start func(t *testing.T) Backend) {
	t.Helper()
	each(t, func(t *testing.T, promise func(*world)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) { promise(newWorld(t, start(t))) })
	})
}

func each(t *testing.T, try func(*testing.T, func(*world))) {
	t.Helper()
	for _, promises := range []map[string]func(*world){sessionPromises, watchPromises, leasePromises, damagePromises, bindingPromises, namedPromises} {
		for _, name := range slices.Sorted(maps.Keys(promises)) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				try(t, promises[name])
			})
		}
	}
}

func newWorld(t *testing.T, b Backend) *world {
	t.Helper()
	w := &world{T: t, Backend: b, cluster: contracts.ClusterName("c" + string(contracts.NewSessionID())[:12])}
	Settle(t, b.Config, w.cluster)
	return w
}

// world is what the test of one promise has to itself.
type world struct {
	*testing.T
	Backend
	cluster contracts.ClusterName
}

// shortLease makes a lease lapse within a test. Longer than it need be on an idle machine: a renewal that comes late
// there is a failure of the test, not of the directory.
func shortLease(c *presence.Config) { c.LeaseTTL, c.LeaseRenewal = shortLife, shortLife/10 }

const shortLife = time.Second

// promptly bounds what should happen at once, on a busy machine.
const promptly = 10 * time.Second

// node is one start of a node.
type node struct {
	*presence.Directory
	w     *world
	id    contracts.NodeID
	epoch contracts.Epoch
	gate  *Gate
}

// config returns the configuration of a directory whose connections go through a gate of its own.
func (w *world) config(id contracts.NodeID, epoch contracts.Epoch, change ...func(*presence.Config)) (presence.Config, *Gate) {
	gate := &Gate{Base: w.Config.Dialer}
	cfg := presence.Config{Cluster: w.cluster, Node: id, Epoch: epoch, Redis: w.Config, SweepInterval: -1}
	cfg.Redis.Dialer = gate.Dial
	cfg.Redis.Timeout = 2 * time.Second // of a busy machine
	for _, f := range change {
		f(&cfg)
	}
	return cfg, gate
}

// open opens a directory that has no lease yet.
func (w *world) open(id contracts.NodeID, epoch contracts.Epoch, change ...func(*presence.Config)) *node {
	w.Helper()
	cfg, gate := w.config(id, epoch, change...)
	d, err := presence.Open(w.Context(), cfg)
	if err != nil {
		w.Fatalf("open: %v", err)
	}
	n := &node{Directory: d, w: w, id: id, epoch: epoch, gate: gate}
	w.Cleanup(n.close)
	return n
}

// join opens a directory and takes its node's lease.
func (w *world) join(id contracts.NodeID, epoch contracts.Epoch, change ...func(*presence.Config)) *node {
	w.Helper()
	n := w.open(id, epoch, change...)
	if err := n.Acquire(w.Context()); err != nil {
		w.Fatalf("acquire the lease of %s: %v", id, err)
	}
	return n
}

// close stops the node in good order, if its gate is open.
func (n *node) close() {
	n.w.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.w.Context()), promptly)
	defer cancel()
	if err := n.Close(ctx); err != nil && !n.gate.isCut() {
		n.w.Errorf("close %s: %v", n.id, err)
	}
}

// crash ends a node without a word to Redis.
func (n *node) crash() {
	n.w.Helper()
	n.gate.Cut()
	n.close()
}

// connect writes the entry of a new session.
func (n *node) connect(client contracts.ClientID) contracts.SessionID {
	n.w.Helper()
	s := contracts.NewSessionID()
	n.reconnect(client, s)
	return s
}

// reconnect writes the entry of a session and returns the client's other sessions.
func (n *node) reconnect(client contracts.ClientID, s contracts.SessionID) []contracts.SessionID {
	n.w.Helper()
	others, _, err := n.Connect(n.w.Context(), client.Address(), contracts.Entry{Session: s, Device: "phone", Since: time.UnixMilli(1_700_000_000_123)})
	if err != nil {
		n.w.Errorf("connect: %v", err)
	}
	return sessions(others)
}

func (n *node) disconnect(client contracts.ClientID, s contracts.SessionID) {
	n.w.Helper()
	if _, err := n.Disconnect(n.w.Context(), client.Address(), s); err != nil {
		n.w.Errorf("disconnect: %v", err)
	}
}

// find looks up one client.
func (n *node) find(client contracts.ClientID) []contracts.Entry {
	n.w.Helper()
	entries, err := n.Lookup(n.w.Context(), Addresses(client))
	if err != nil {
		n.w.Fatalf("lookup: %v", err)
	}
	return entries[0]
}

// expect looks up one client, and compares its sessions.
func (n *node) expect(client contracts.ClientID, want ...contracts.SessionID) {
	n.w.Helper()
	if got := sessions(n.find(client)); !sameSessions(got, want) {
		n.w.Errorf("%s finds the sessions %v of %q, not %v", n.id, got, client, want)
	}
}

func sessions(entries []contracts.Entry) []contracts.SessionID {
	var ids []contracts.SessionID
	for _, e := range entries {
		ids = append(ids, e.Session)
	}
	slices.Sort(ids)
	return ids
}

func sameSessions(got, want []contracts.SessionID) bool {
	return slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want)))
}

func (w *world) key(client contracts.ClientID) string {
	return string(contracts.RecordKey(w.cluster, client.Address()))
}

func (w *world) leaseKey(id contracts.NodeID) string {
	return string(contracts.LeaseKey(w.cluster, id))
}

// stored returns how many fields the record of a client has.
func (w *world) stored(client contracts.ClientID) int {
	w.Helper()
	n, err := w.Client.HLen(w.Context(), w.key(client)).Result()
	if err != nil {
		w.Fatalf("read the record: %v", err)
	}
	return int(n)
}

// until waits for something that should come soon.
func (w *world) until(what string, done func() bool) { w.Helper(); Until(w, what, promptly, done) }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// empty removes all that is stored for this world.
func (w *world) empty() {
	w.Helper()
	if !w.Shared {
		w.must(w.Client.FlushAll(w.Context()).Err())
		return
	}
	each := func(ctx context.Context, c redis.UniversalClient) error {
		keys := c.Scan(ctx, 0, contracts.KeyPrefix(w.cluster)+"*", 1000).Iterator()
		for keys.Next(ctx) {
			if err := c.Del(ctx, keys.Val()).Err(); err != nil {
				return err
			}
		}
		return keys.Err()
	}
	if cluster, ok := w.Client.(*redis.ClusterClient); ok {
		w.must(cluster.ForEachMaster(w.Context(), func(ctx context.Context, c *redis.Client) error { return each(ctx, c) }))
		return
	}
	w.must(each(w.Context(), w.Client))
}

// Addresses returns clients as addresses.
func Addresses(clients ...contracts.ClientID) []contracts.Address {
	as := make([]contracts.Address, len(clients))
	for i, c := range clients {
		as[i] = c.Address()
	}
	return as
}

func clientNamed(parts ...string) contracts.ClientID {
	return contracts.ClientID(strings.Join(parts, "-"))
}
