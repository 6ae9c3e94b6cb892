package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// leases caches who is alive. Readers take a snapshot without a lock.
//
// A cached lease may be up to refreshInterval too old, and then a dead node still counts. The other way round nothing is
// taken from the cache: before an entry is called dead, its node's lease is read.
type leases struct {
	life time.Duration // LeaseTTL

	alive atomic.Pointer[map[contracts.NodeID]contracts.Epoch] // never changed, only replaced

	mu         sync.Mutex // for whoever replaces alive
	lastRead   time.Time  // when the last refresh in which every lease could be read began
	graceUntil time.Time
}

// lease is what Redis said about one node: an epoch, or nothing (missing), or no answer (err).
type lease struct {
	epoch   contracts.Epoch
	missing bool
	err     error
}

func newLeases(life time.Duration) *leases {
	now := time.Now()
	l := &leases{life: life, lastRead: now, graceUntil: now.Add(life)}
	l.alive.Store(&map[contracts.NodeID]contracts.Epoch{})
	return l
}

func (l *leases) snapshot() map[contracts.NodeID]contracts.Epoch { return *l.alive.Load() }

// grace tells whether a missing lease proves nothing. While Redis was away nobody could renew, so when it is back, all
// leases may have lapsed: for as long as a lease lives, a missing one may be about to return. The same after the start,
// as nothing is known of the time before.
// An outage shorter than half a life is none: a node that was alive before still has the other half to renew.
func (l *leases) grace() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return now.Before(l.graceUntil) || now.Sub(l.lastRead) > l.life/2
}

// readAll notes that a refresh that began at start has read every lease.
func (l *leases) readAll(start time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if start.Sub(l.lastRead) > l.life/2 {
		l.graceUntil = time.Now().Add(l.life)
	}
	l.lastRead = start
}

// doubt begins a time of grace: Redis has lost leases, and not only its own reader's.
func (l *leases) doubt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.graceUntil = time.Now().Add(l.life)
}

// learn takes over what Redis has said. What it did not say, and in a time of grace what it no longer has, stays.
func (l *leases) learn(said map[contracts.NodeID]lease) {
	grace := l.grace()
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.snapshot()
	changed := maps.Clone(old)
	for id, s := range said {
		switch {
		case s.err != nil:
		case !s.missing:
			changed[id] = s.epoch
		case !grace:
			delete(changed, id)
		}
	}
	if !maps.Equal(old, changed) {
		l.alive.Store(&changed)
	}
}

// Alive returns the nodes that are alive, sorted by id, as the cache has them: at most a tenth of LeaseTTL old while
// Redis can be read. See [Directory.Listed].
func (d *Directory) Alive() []contracts.Peer {
	alive := d.leases.snapshot()
	peers := make([]contracts.Peer, 0, len(alive))
	for _, id := range slices.Sorted(maps.Keys(alive)) {
		peers = append(peers, contracts.Peer{Node: id, Epoch: alive[id]})
	}
	return peers
}

// Listed tells whether all nodes that are alive are known. They may not be while this node has started so soon after Redis
// was emptied that others have not taken their leases again.
func (d *Directory) Listed() bool { return d.trust.listed() }

// NoticeTime is how long it takes every node to notice that Redis does not answer: until its next refresh, and the end of
// that.
func (d *Directory) NoticeTime() time.Duration { return d.cfg.refreshInterval() + d.cfg.callTimeout() }

// Met takes note of a node that was heard by another way, and so lives: it counts as alive until Redis is asked.
func (d *Directory) Met(p contracts.Peer) {
	if known, ok := d.leases.snapshot()[p.Node]; !ok || known < p.Epoch {
		d.leases.learn(map[contracts.NodeID]lease{p.Node: {epoch: p.Epoch}})
	}
}

// askLeases reads the leases of some nodes in one round trip.
func (d *Directory) askLeases(ctx context.Context, nodes []contracts.NodeID) map[contracts.NodeID]lease {
	said := make(map[contracts.NodeID]lease, len(nodes))
	if len(nodes) == 0 {
		return said
	}
	cmds := d.leaseCmds(ctx, nil, nodes)
	d.execLeases(ctx, cmds)
	for i, n := range nodes {
		said[n] = readLease(cmds[i])
	}
	d.leases.learn(said)
	return said
}

// execLeases carries out commands that read leases, and with them reads this node's own: when that is missing too, the
// others say nothing, and doubt begins before anybody draws a conclusion from them.
func (d *Directory) execLeases(ctx context.Context, cmds []redis.Cmder) {
	_, round := d.trust.look()
	own := d.ownLease(ctx, round)
	if own != nil {
		cmds = append(cmds, own.cmd)
	}
	d.exec(ctx, cmds)
	if own != nil {
		own.there(ctx)
	}
}

// leaseCmds appends the commands that read the leases of some nodes, of type [*redis.StringCmd].
func (d *Directory) leaseCmds(ctx context.Context, cmds []redis.Cmder, nodes []contracts.NodeID) []redis.Cmder {
	for _, n := range nodes {
		cmds = append(cmds, redis.NewStringCmd(ctx, "get", string(contracts.LeaseKey(d.cfg.Cluster, n))))
	}
	return cmds
}

func readLease(cmd redis.Cmder) lease {
	value, err := cmd.(*redis.StringCmd).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return lease{missing: true}
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return lease{missing: true} // not written by a node
	case err != nil:
		return lease{err: err}
	}
	epoch, err := contracts.ParseEpoch(value)
	if err != nil {
		return lease{missing: true}
	}
	return lease{epoch: epoch}
}

// refresh reads the leases of all nodes: in one round trip if there is no new node, else in two. names are the nodes of
// the last refresh; it returns those of this one.
func (d *Directory) refresh(ctx context.Context, names []contracts.NodeID) ([]contracts.NodeID, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()
	start := time.Now()
	members := redis.NewStringSliceCmd(ctx, "smembers", string(contracts.NodesKey(d.cfg.Cluster)))
	cmds := d.leaseCmds(ctx, []redis.Cmder{members}, names)
	d.execLeases(ctx, cmds)
	if err := members.Err(); err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return names, fmt.Errorf("%w: list the nodes: %w", ErrUnavailable, err)
	}
	said := make(map[contracts.NodeID]lease, len(names))
	for i, n := range names {
		said[n] = readLease(cmds[i+1])
	}
	d.leases.learn(said)

	var all, fresh []contracts.NodeID
	for _, m := range members.Val() {
		n, err := contracts.ParseNodeID(m)
		if err != nil {
			continue // not written by a node
		}
		all = append(all, n)
		if _, ok := said[n]; !ok {
			fresh = append(fresh, n)
		}
	}
	maps.Copy(said, d.askLeases(ctx, fresh))
	// A node may be known from an entry only, as long as its id is not in the set again after the set was lost.
	for n := range d.leases.snapshot() {
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	for _, s := range said {
		if s.err != nil {
			return all, fmt.Errorf("%w: read leases: %w", ErrUnavailable, s.err)
		}
	}
	d.leases.readAll(start)
	return all, nil
}

// refreshLoop keeps the cache fresh until ctx ends.
func (d *Directory) refreshLoop(ctx context.Context, names []contracts.NodeID) {
	timer := time.NewTimer(d.cfg.refreshInterval())
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		var err error
		names, err = d.refresh(ctx, names)
		if err != nil && ctx.Err() == nil {
			d.stats.errors.Add(1)
			d.noteOutage(err)
		}
		d.logChange(ctx, &failing, err)
		timer.Reset(d.cfg.refreshInterval())
	}
}

// logChange logs that Redis went away or came back, and not every failed try.
func (d *Directory) logChange(ctx context.Context, failing *bool, err error) {
	switch {
	case err != nil && ctx.Err() == nil && !*failing:
		*failing = true
		d.log.WarnContext(ctx, "presence: redis cannot be read", slog.Any("err", err))
	case err == nil && *failing:
		*failing = false
		d.log.InfoContext(ctx, "presence: redis can be read again")
	}
}
