// Package edge holds the connections of clients: who they are, what they ask for, what waits to be written to them.
// It decides where a message goes; it does not know what carries it there (broker), nor where clients are (presence).
package edge

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// Directory says where addresses are.
type Directory interface {
	// Connect records an entry of this node for an address. It returns the address's other entries, and the nodes that are
	// to be told of the change.
	Connect(ctx context.Context, a contracts.Address, e contracts.Entry) (others []contracts.Entry, watchers []contracts.NodeID, err error)
	// Disconnect removes this entry, and no other.
	Disconnect(ctx context.Context, a contracts.Address, entry contracts.SessionID) (watchers []contracts.NodeID, err error)
	// Lookup returns the live entries of each address, in one round trip, and has this node told of their changes for
	// contracts.WatchTTL. An error may name single addresses; see partialError.
	Lookup(ctx context.Context, as []contracts.Address) ([][]contracts.Entry, error)
	// Trusted tells whether what the directory does not have is not there: it may have lost entries, and watches.
	Trusted() bool
	// Alive lists the nodes that live, this one too.
	Alive() []contracts.Peer
	// Listed tells whether there are no others.
	Listed() bool
	// Met says that a node was heard, and so lives. It returns true when this node may not have been told of changes before.
	Met(p contracts.Peer) (missed bool)
	// Restored gets a value when entries may have been lost and are to be recorded anew.
	Restored() <-chan struct{}
	// Missed gets a value when this node may not have been told of changes of addresses that it has looked up.
	Missed() <-chan struct{}
}

// Courier carries frames to other nodes. What it is given ends in one call of the waiter, also when it fails.
type Courier interface {
	Send(node contracts.NodeID, to contracts.Address, frame []byte, w broker.Waiter, id uint64)
	// Changed tells a node that an address is elsewhere now.
	Changed(node contracts.NodeID, a contracts.Address, w broker.Waiter, id uint64)
	// Forget tells a node that any address may be elsewhere now.
	Forget(node contracts.NodeID, w broker.Waiter, id uint64)
	// Probe asks a node whether it has an address.
	Probe(node contracts.NodeID, a contracts.Address, w broker.Waiter, id uint64)
	// Members asks a node for members of a group.
	Members(node contracts.NodeID, q contracts.MembersQuery, w broker.DataWaiter, id uint64)
	// Evict ends a session on another node.
	Evict(node contracts.NodeID, to contracts.ClientID, s contracts.SessionID, code contracts.CloseCode, w broker.Waiter, id uint64)
	// Begin and End enclose a burst, which goes out together.
	Begin()
	End()
}

// Identity is who a client is and what it may do.
type Identity struct {
	Client  contracts.ClientID
	Expires time.Time   // zero: never
	Send    Permissions // to whom it may send
	Watch   Permissions // whose presence it may watch
	Groups  Permissions // which groups it may join, and publish to
	Call    Permissions // which services it may call
}

// Permissions tells which ids something is allowed for.
type Permissions interface{ Allows(id string) bool }

// Authenticator says whom a token, or a name without one, stands for.
type Authenticator interface {
	// Token verifies a token. Its error is safe to show.
	Token(token string) (Identity, error)
	// Name takes a client at its word, or refuses to.
	Name(client contracts.ClientID) (Identity, error)
}

// Edge holds the sessions of one node. It is safe for concurrent use; make one with [New].
type Edge struct {
	// set once
	cfg     Config
	blip    time.Duration
	cluster contracts.ClusterName
	node    contracts.NodeID
	epoch   contracts.Epoch
	dir     Directory
	auth    Authenticator
	arbiter Arbiter // may be nil
	caller  Caller  // may be nil
	courier Courier
	log     *slog.Logger
	metrics *metrics
	routes  *router
	local   [contracts.Shards]broker.Book // messages that are being written to sessions of this node

	roster   roster
	groups   groups
	friends  friends
	news     news
	writes   broker.Gather[*Session]
	bulk     broker.Gather[*Session] // of what goes to many: it is not to hold up what goes to one
	open     atomic.Int64            // connections, logged in or not
	strange  atomic.Int64            // of these, not logged in
	arrivals atomic.Uint64           // sessions that have become ready
	draining atomic.Bool
	ctx      context.Context // ends when the edge is closed: for work that belongs to no request
	cancel   context.CancelFunc
	all      sync.Map // contracts.SessionID -> *Session: every connection, logged in or not

	debts debts

	disunited atomic.Bool // some client may have sessions in other clusters, too, where it may have one only

	ghostsMu sync.Mutex
	ghosts   []ghost // guarded by ghostsMu

	behind     atomic.Bool   // some ready session may have no record
	generation atomic.Uint64 // counts the times that the directory may have lost entries
	polls      chan struct{} // places for members questions of other nodes
	refusing   chan struct{} // places for clients over raw TCP who are told that they are not let in
	closing    sync.RWMutex
	closed     bool           // guarded by closing: Close waits for work
	work       sync.WaitGroup // sessions being recorded and removed
	resolvers  sync.WaitGroup
}

// Options are what an edge is made of besides its configuration.
type Options struct {
	Cluster   contracts.ClusterName
	Node      contracts.NodeID
	Epoch     contracts.Epoch
	Directory Directory
	Auth      Authenticator
	Arbiter   Arbiter // nil: tokens decide alone
	News      News    // its zero value: nobody is told
	Caller    Caller  // nil: there are no services to call

	// Blip is how long the directory may refuse a record before whoever comes is let in without one. It should be longer
	// than other nodes need to notice that the directory is away: who did not would take what is missing for gone when it is
	// back. (When it is this node alone that cannot reach it, they never do.)
	Blip   time.Duration
	Logger *slog.Logger // nil: nothing is logged
}

// New returns an edge that serves nobody yet: call [Edge.Start] before its handler is used. cfg must be valid.
func New(cfg Config, o Options) *Edge {
	e := &Edge{
		cfg: cfg, blip: o.Blip, cluster: o.Cluster, node: o.Node, epoch: o.Epoch,
		dir: o.Directory, auth: o.Auth, arbiter: o.Arbiter, caller: o.Caller, log: o.Logger,
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.writes.Flush = (*Session).flush
	// The answers for what a round delivers go out together.
	e.writes.Before, e.writes.After = func() { e.courier.Begin() }, func() { e.courier.End() }
	e.bulk.Before, e.bulk.After = e.writes.Before, e.writes.After
	e.bulk.Flush = (*Session).flushBulk
	e.metrics = newMetrics(e)
	e.routes = newRouter(e)
	e.polls = make(chan struct{}, memberPolls)
	e.refusing = make(chan struct{}, mostRefused)
	e.groups.init(e)
	e.friends.init(e)
	e.debts.wake, e.debts.m = make(chan struct{}, 1), map[contracts.NodeID]*debt{}
	e.news.init(e, o.News)
	return e
}

// Start takes the courier, which needs the edge as its handler and so comes after it, and starts the edge's own work. It
// returns when the other nodes know of this one, or do not answer.
func (e *Edge) Start(ctx context.Context, c Courier) {
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e.courier = c
	for i := range e.local {
		e.local[i].AnswerTime = e.cfg.AckTimeout
	}
	e.resolvers.Go(e.tend)
	e.resolvers.Go(e.bury)
	e.resolvers.Go(e.pay)
	e.resolvers.Go(e.reunite)
	e.resolvers.Go(e.friends.run)
	e.resolvers.Go(e.beat)
	e.resolvers.Go(e.news.run)
	for range lookupWorkers {
		e.resolvers.Go(e.routes.resolve)
	}
	e.greet()
}

// greet has the other nodes, those of other clusters too, hear of this one before any client does. They would find it in the directory within a moment;
// but should that be lost in this very moment, they have to know whom to ask.
func (e *Edge) greet() {
	// Nobody has a client of this name, as far as this node cares: that it asks is what counts.
	self := contracts.ClientID(e.node).Address()
	var waiting answers
	for _, n := range e.everybody() {
		if n != e.node {
			waiting.Add(1)
			e.courier.Probe(n, self, &waiting, 0)
		}
	}
	waiting.Wait()
}

// Met takes note of a node that was heard. It is part of broker.Handler.
func (e *Edge) Met(p contracts.Peer) {
	if e.dir.Met(p) {
		e.forget() // before that node is answered
	}
}

// Message delivers a frame from another node. It is part of broker.Handler.
func (e *Edge) Message(to contracts.Address, frame []byte, w broker.Waiter, id uint64) {
	e.deliver(to, frame, w, id)
}

// Changed forgets where an address is. It is part of broker.Handler.
func (e *Edge) Changed(a contracts.Address, w broker.Waiter, id uint64) {
	e.routes.changed(a)
	e.friends.changed(a)
	e.news.changed(a)
	w.Answered(id, contracts.StatusDelivered)
}

// Forget forgets where all addresses are. It is part of broker.Handler.
func (e *Edge) Forget(w broker.Waiter, id uint64) {
	e.forget()
	w.Answered(id, contracts.StatusDelivered)
}

// forget has everything that is known of where addresses are looked up anew.
func (e *Edge) forget() {
	e.routes.forget()
	e.friends.refresh()
}

// Probe tells whether an address is here. It is part of broker.Handler.
func (e *Edge) Probe(a contracts.Address, w broker.Waiter, id uint64) {
	s := contracts.StatusNotHere
	if e.holds(a) {
		s = contracts.StatusDelivered
	}
	w.Answered(id, s)
}

// holds tells whether a message to the address has somebody to go to on this node.
func (e *Edge) holds(a contracts.Address) bool {
	if a.Kind == contracts.KindGroup {
		return e.groups.has(contracts.GroupName(a.ID))
	}
	return len(e.roster.of(contracts.ClientID(a.ID))) > 0
}

// Begin begins a burst of messages: each session gets what is for it in one write. It is part of broker.Handler.
func (e *Edge) Begin() {
	e.writes.Begin()
	e.bulk.Begin()
}

// End ends a burst. It is part of broker.Handler.
func (e *Edge) End() {
	e.writes.End()
	e.bulk.End()
}

// Evict ends a session because another node says that a newer one took over. It finds the session from its log-in on, also
// before it is ready: when two connect at once, the one that is recorded later must find the other. It is part of
// broker.Handler.
func (e *Edge) Evict(to contracts.ClientID, session contracts.SessionID, code contracts.CloseCode, w broker.Waiter, id uint64) {
	if found, ok := e.all.Load(session); ok {
		if s := found.(*Session); s.belongsTo(to) {
			s.end(code, evicted(code))
			w.Answered(id, contracts.StatusDelivered)
			return
		}
	}
	w.Answered(id, contracts.StatusNotHere)
}

// deliverHere delivers a message of this node's own clients. The recipient gets as long to take it as another node would.
func (e *Edge) deliverHere(to contracts.Address, frame []byte, w broker.Waiter, id uint64) {
	book := &e.local[to.Shard()]
	seq, ok := book.Add(w, id)
	if !ok {
		w.Answered(id, contracts.StatusUnavailable)
		return
	}
	e.deliver(to, frame, book, seq)
}

// deliver puts a frame into the queues of all sessions that the client, or the members of the group, have here.
func (e *Edge) deliver(to contracts.Address, frame []byte, w broker.Waiter, id uint64) {
	if to.Kind == contracts.KindGroup {
		w.Answered(id, e.groups.deliver(contracts.GroupName(to.ID), frame))
		return
	}
	sessions := e.roster.of(contracts.ClientID(to.ID))
	switch len(sessions) {
	case 0:
		w.Answered(id, contracts.StatusNotHere)
		return
	case 1:
		if s := sessions[0].push(frame, receipt{w, id}); s != 0 {
			w.Answered(id, s)
		}
		return
	}
	all := newTally(w, id, len(sessions))
	for _, s := range sessions {
		if st := s.push(frame, receipt{all, 0}); st != 0 {
			all.Answered(0, st)
		}
	}
}

// spawn runs f on a goroutine of the edge, unless that is closing: for what comes from outside its connections, which Close
// waits for first.
func (e *Edge) spawn(f func()) bool {
	e.closing.RLock()
	defer e.closing.RUnlock()
	if e.closed {
		return false
	}
	e.work.Go(f)
	return true
}

// burst runs f as one burst: what it sends to a node goes out together, and so does what it writes to a session.
func (e *Edge) burst(f func()) {
	e.courier.Begin()
	defer e.courier.End()
	e.Begin()
	defer e.End()
	f()
}

// Sessions is the number of connections that are logged in.
func (e *Edge) Sessions() int { return int(e.open.Load() - e.strange.Load()) }

// Arrivals returns how many sessions have become ready since the start.
func (e *Edge) Arrivals() uint64 { return e.arrivals.Load() }
