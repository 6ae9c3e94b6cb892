package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/beeline-rt/beeline/contracts"
)

// Handler is what a node does with what other nodes send to it. Its methods are called in order for each shard, from one
// goroutine per shard, and must not block.
type Handler interface {
	// Begin and End enclose the records of one node message.
	Begin()
	End()
	// Met says that another node was heard: for the first time on a shard, or since it was started anew. It may also be told of
	// a start that is over, whose last words come late.
	Met(p contracts.Peer)
	// Message is a frame for a client, or the members of a group, of this node. w is told once, with id, what became of it.
	Message(to contracts.Address, frame []byte, w Waiter, id uint64)
	// Evict asks to end a session of a client. w is told StatusDelivered, or StatusNotHere.
	Evict(to contracts.ClientID, session contracts.SessionID, code contracts.CloseCode, w Waiter, id uint64)
	// Changed says that other nodes have the address now than before. w is told StatusDelivered when no message goes by what
	// was known before.
	Changed(a contracts.Address, w Waiter, id uint64)
	// Forget says that nothing may go by what was known before of any address. w is told StatusDelivered when nothing does.
	Forget(w Waiter, id uint64)
	// Probe asks whether the address is on this node. w is told StatusDelivered or StatusNotHere.
	Probe(a contracts.Address, w Waiter, id uint64)
	// Members asks for members of a group on this node. w is told with data, as contracts.AppendNames makes it, or with a
	// status that says why not.
	Members(q contracts.MembersQuery, w DataWaiter, id uint64)
}

// What a subscription may hold before this node counts as too slow. nats.go's default is 500,000 messages.
const (
	pendingMessages = 1 << 17
	pendingBytes    = 128 << 20
)

// Bus carries records between nodes, of one cluster or of several whose NATS servers are linked: to each node and shard in order, many records in one NATS message when
// many are posted at a time, every record answered exactly once. It is safe for concurrent use.
type Bus struct {
	// set once
	conn       *Conn
	cluster    contracts.ClusterName
	node       contracts.NodeID
	epoch      contracts.Epoch
	returned   contracts.Subject
	answerTime time.Duration
	handler    Handler
	log        *slog.Logger
	subs       []*nats.Subscription

	gather   Gather[*link]
	peers    sync.Map // contracts.NodeID -> *peer
	counters struct{ bundles, received, malformed, unsent atomic.Uint64 }
}

type peer [contracts.Shards]link

// BusConfig says who this node is on the bus.
type BusConfig struct {
	Cluster    contracts.ClusterName
	Node       contracts.NodeID
	Epoch      contracts.Epoch
	AnswerTime time.Duration // after which an unanswered record is StatusTimeout
}

// OpenBus subscribes this node's subjects, a fixed number however many clients there are, and returns when the server knows of it.
func OpenBus(ctx context.Context, conn *Conn, cfg BusConfig, h Handler) (*Bus, error) {
	b := &Bus{
		conn: conn, cluster: cfg.Cluster, node: cfg.Node, epoch: cfg.Epoch, answerTime: cfg.AnswerTime,
		handler: h, log: conn.log, returned: contracts.ReturnPrefix(cfg.Cluster, cfg.Node),
	}
	b.gather.Flush = (*link).flush
	for shard := range contracts.Shards {
		err := b.subscribe(contracts.NodeSubject(cfg.Cluster, cfg.Node, shard), func(m *nats.Msg) { b.receive(shard, m.Data) })
		if err != nil {
			return nil, err
		}
	}
	if err := b.subscribe(contracts.ReturnWildcard(cfg.Cluster, cfg.Node), b.cameBack); err != nil {
		return nil, err
	}
	if err := conn.settle(ctx); err != nil {
		b.unsubscribe()
		return nil, fmt.Errorf("subscribe node %s: %w", cfg.Node, err)
	}
	return b, nil
}

func (b *Bus) subscribe(subject contracts.Subject, h nats.MsgHandler) error {
	sub, err := b.conn.nc.Subscribe(string(subject), h)
	if err == nil {
		b.subs = append(b.subs, sub)
		err = sub.SetPendingLimits(pendingMessages, pendingBytes)
	}
	if err != nil {
		b.unsubscribe()
		return fmt.Errorf("subscribe %s: %w", subject, err)
	}
	return nil
}

func (b *Bus) unsubscribe() {
	for _, sub := range b.subs {
		_ = sub.Unsubscribe()
	}
}

// Send sends a frame to a node that has the address. w is told, with id, what became of it: also when this call fails.
func (b *Bus) Send(node contracts.NodeID, to contracts.Address, frame []byte, w Waiter, id uint64) {
	kind := contracts.RecordMessage
	if to.Kind == contracts.KindGroup {
		kind = contracts.RecordGroup
	}
	b.link(node, to.Shard()).post(contracts.Record{Kind: kind, To: to, Frame: frame}, w, id)
}

// Changed tells another node that it must not go by what it knew of an address. w is told, with id, what became of it.
func (b *Bus) Changed(node contracts.NodeID, a contracts.Address, w Waiter, id uint64) {
	b.link(node, a.Shard()).post(contracts.Record{Kind: contracts.RecordChanged, To: a}, w, id)
}

// Forget tells another node that it must not go by what it knew of any address. w is told, with id, what became of it.
func (b *Bus) Forget(node contracts.NodeID, w Waiter, id uint64) {
	b.link(node, 0).post(contracts.Record{Kind: contracts.RecordForget}, w, id)
}

// Probe asks another node whether it has an address. w is told, with id, StatusDelivered if so, StatusNotHere if not.
func (b *Bus) Probe(node contracts.NodeID, a contracts.Address, w Waiter, id uint64) {
	b.link(node, a.Shard()).post(contracts.Record{Kind: contracts.RecordProbe, To: a}, w, id)
}

// Members asks another node for members of a group. w is told, with id, with data or with a status.
func (b *Bus) Members(node contracts.NodeID, q contracts.MembersQuery, w DataWaiter, id uint64) {
	r := contracts.Record{Kind: contracts.RecordMembers, To: q.Group.Address(), Data: q.AppendData(nil)}
	b.link(node, r.To.Shard()).post(r, w, id)
}

// Evict asks another node to end a session. w is told, with id, what became of it.
func (b *Bus) Evict(node contracts.NodeID, to contracts.ClientID, session contracts.SessionID, code contracts.CloseCode, w Waiter, id uint64) {
	r := contracts.Record{Kind: contracts.RecordEnd, To: to.Address(), Session: session, Code: code}
	b.link(node, r.To.Shard()).post(r, w, id)
}

// Begin begins a burst: what is posted until [Bus.End] goes out together.
func (b *Bus) Begin() { b.gather.Begin() }

// End ends a burst.
func (b *Bus) End() { b.gather.End() }

// link returns the way to a shard of a node. Node ids come from the directory and from bundles, so there are as many as nodes.
func (b *Bus) link(node contracts.NodeID, shard int) *link {
	if p, ok := b.peers.Load(node); ok {
		return &p.(*peer)[shard]
	}
	fresh, self := new(peer), b.node
	if node.Foreign() {
		self = self.In(b.cluster)
	}
	for i := range fresh {
		fresh[i].bus, fresh[i].self, fresh[i].to, fresh[i].shard = b, self, node, i
		fresh[i].book.AnswerTime = b.answerTime
		fresh[i].subject = string(contracts.NodeSubject(b.cluster, node, i))
	}
	p, _ := b.peers.LoadOrStore(node, fresh)
	return &p.(*peer)[shard]
}

// receive works off one bundle from another node.
func (b *Bus) receive(shard int, data []byte) {
	bundle, err := contracts.ReadBundle(data)
	if err != nil {
		b.malformed(shard)
		return
	}
	b.counters.received.Add(1)
	l := b.link(bundle.From, shard)
	from, fresh := l.originOf(bundle.Epoch)
	if fresh {
		b.handler.Met(contracts.Peer{Node: bundle.From, Epoch: bundle.Epoch})
	}
	b.Begin()
	b.handler.Begin()
	defer b.End()
	defer b.handler.End()
	var r contracts.Record
	for {
		ok, err := bundle.Next(&r)
		if err != nil {
			b.malformed(shard)
			return
		}
		if !ok {
			return
		}
		switch r.Kind {
		case contracts.RecordMessage, contracts.RecordGroup:
			b.handler.Message(r.To, r.Frame, from, r.Seq)
		case contracts.RecordEnd:
			b.handler.Evict(contracts.ClientID(r.To.ID), r.Session, r.Code, from, r.Seq)
		case contracts.RecordChanged:
			b.handler.Changed(r.To, from, r.Seq)
		case contracts.RecordForget:
			b.handler.Forget(from, r.Seq)
		case contracts.RecordProbe:
			b.handler.Probe(r.To, from, r.Seq)
		case contracts.RecordMembers:
			q, ok := contracts.ReadMembersQuery(contracts.GroupName(r.To.ID), r.Data)
			if !ok {
				b.malformed(shard)
				return
			}
			b.handler.Members(q, from, r.Seq)
		case contracts.RecordData:
			if r.Epoch == b.epoch {
				l.book.answeredWith(r.Seq, r.Data)
			}
		case contracts.RecordAnswer:
			if r.Epoch == b.epoch { // else it was meant for this node's predecessor
				l.book.Answered(r.Seq, r.Status)
			}
		}
	}
}

// originOf returns who takes the answers for that start of the node at the other end of the link, and whether it is heard
// for the first time. Only the shard's own goroutine calls it.
func (l *link) originOf(epoch contracts.Epoch) (o *origin, fresh bool) {
	fresh = l.origin == nil || l.origin.epoch != epoch
	if fresh {
		l.origin = &origin{link: l, epoch: epoch}
	}
	return l.origin, fresh
}

func (b *Bus) malformed(shard int) {
	if b.counters.malformed.Add(1) == 1 {
		b.log.Error("malformed node message: does another version run in this cluster?", slog.Int("shard", shard))
	}
}

// cameBack hears of bundles for which there was no node.
func (b *Bus) cameBack(m *nats.Msg) {
	if len(m.Data) != 0 || m.Header.Get("Status") != "503" {
		return
	}
	to, shard, first, n, ok := contracts.ParseReturn(m.Subject, b.returned)
	if !ok {
		return
	}
	if p, found := b.peers.Load(to); found { // only nodes that were written to: what comes back makes no links
		p.(*peer)[shard].nobody(first, n)
	}
}

// Stats are counts since the bus was opened.
type Stats struct {
	Sent      uint64 // node messages sent
	Received  uint64 // node messages received
	Unsent    uint64 // node messages not sent for want of a connection
	Malformed uint64
	Dropped   uint64 // node messages that nats.go dropped because this node could not keep up
	Pending   int    // node messages that wait to be worked off
}

// Stats returns the counts. It takes the locks of the subscriptions and is meant for metrics.
func (b *Bus) Stats() Stats {
	s := Stats{
		Sent: b.counters.bundles.Load(), Received: b.counters.received.Load(),
		Unsent: b.counters.unsent.Load(), Malformed: b.counters.malformed.Load(),
	}
	for _, sub := range b.subs {
		if n, err := sub.Dropped(); err == nil {
			s.Dropped += uint64(n)
		}
		if n, _, err := sub.Pending(); err == nil {
			s.Pending += n
		}
	}
	return s
}

// Close stops listening, gives up on what is unanswered, and leaves the connection open. Nothing may be sent after it.
func (b *Bus) Close() {
	b.unsubscribe()
	b.peers.Range(func(_, p any) bool {
		for i := range p.(*peer) {
			p.(*peer)[i].book.Close()
		}
		return true
	})
}
