package presence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// The sweep removes dead entries of addresses that nobody asks for. Nothing depends on it but Redis's memory, so it is
// slow: one node at a time, a step of some 200 keys, a pause.

const (
	sweepStep = 200
	sweepLock = 30 * time.Second // plus a pause: how long the lock outlives a node that dies while it sweeps
)

// errNotOurs says that another node has the sweeper's lock.
var errNotOurs = errors.New("another node sweeps")

// sweepLoop sweeps now and then, until ctx ends.
func (d *Directory) sweepLoop(ctx context.Context) {
	interval := d.cfg.SweepInterval
	if interval < 0 {
		return
	}
	for {
		// Spread, so that nodes that start together do not come together.
		if wait(ctx, interval/2+rand.N(interval/2+1)) != nil {
			return
		}
		switch err := d.sweep(ctx); {
		case err == nil:
			d.stats.sweeps.Add(1)
		case ctx.Err() == nil && !errors.Is(err, errNotOurs):
			d.stats.errors.Add(1)
			d.log.WarnContext(ctx, "presence: the sweep was broken off", slog.Any("err", err))
		}
	}
}

// sweep goes once through all records. Afterwards the lock is kept for an interval, so that the others leave it at that.
func (d *Directory) sweep(ctx context.Context) error {
	lock, me := []contracts.Key{contracts.SweepKey(d.cfg.Cluster)}, string(d.cfg.Node)+" "+d.cfg.Epoch.String()
	ttl := sweepLock + d.cfg.SweepPause
	reply, err := acquireScript.run(ctx, d.client, lock, me, ttl.Milliseconds()).Slice()
	switch {
	case err != nil:
		return err
	case len(reply) == 0 || reply[0] != int64(1):
		return errNotOurs
	}
	keep := func(ttl time.Duration) error {
		n, err := renewScript.run(ctx, d.client, lock, me, ttl.Milliseconds()).Int()
		if err == nil && n != 1 {
			return errNotOurs
		}
		return err
	}
	masters, err := d.masters(ctx)
	if err != nil {
		return err
	}
	for _, m := range masters {
		if err := d.sweepMaster(ctx, m, func() error { return keep(ttl) }); err != nil {
			return err
		}
	}
	if err := d.sweepNodes(ctx); err != nil {
		return err
	}
	return keep(d.cfg.SweepInterval)
}

// masters returns what has to be scanned: every master of a Redis Cluster.
func (d *Directory) masters(ctx context.Context) ([]redis.UniversalClient, error) {
	cluster, ok := d.client.(*redis.ClusterClient)
	if !ok {
		return []redis.UniversalClient{d.client}, nil
	}
	var (
		mu      sync.Mutex
		masters []*redis.Client
	)
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, c)
		return nil
	})
	slices.SortFunc(masters, func(a, b *redis.Client) int { return cmp.Compare(a.Options().Addr, b.Options().Addr) })
	all := make([]redis.UniversalClient, len(masters))
	for i, m := range masters {
		all[i] = m
	}
	return all, err
}

// sweepMaster goes through the records of one server. keep renews the lock.
func (d *Directory) sweepMaster(ctx context.Context, c redis.UniversalClient, keep func() error) error {
	pattern := contracts.KeyPrefix(d.cfg.Cluster) + "[" + string(contracts.KindClient) + string(contracts.KindGroup) + "]:*"
	for cursor := uint64(0); ; {
		keys, next, err := c.Scan(ctx, cursor, pattern, sweepStep).Result()
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		// A server may return more than was asked for: miniredis returns all.
		for step := range slices.Chunk(keys, sweepStep) {
			if err := d.sweepRecords(ctx, step); err != nil {
				return err
			}
			if err := keep(); err != nil {
				return err
			}
			if err := wait(ctx, d.cfg.SweepPause); err != nil {
				return err
			}
		}
		if len(keys) == 0 { // the pattern matched nothing, but this was work for the server
			if err := wait(ctx, d.cfg.SweepPause); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// sweepRecords removes the dead entries of some records.
func (d *Directory) sweepRecords(ctx context.Context, keys []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*d.cfg.callTimeout()) // it reads and then removes
	defer cancel()
	var found []found
	for i, cmd := range d.readRecords(ctx, keys) {
		record, err := cmd.(*redis.StringSliceCmd).Result()
		if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			return fmt.Errorf("read records: %w", err)
		}
		found = appendFound(found, i, keys[i], record)
	}
	d.judge(ctx, found)
	var corpses []corpse
	for _, f := range found {
		if f.verdict == dead {
			corpses = append(corpses, corpse{f.key, f.session, f.value})
		}
	}
	if len(corpses) == 0 {
		return nil
	}
	return d.bury(ctx, corpses)
}

// sweepNodes forgets the ids of nodes that have no lease. One that comes back is registered again with its next renewal.
func (d *Directory) sweepNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*d.cfg.callTimeout())
	defer cancel()
	set := string(contracts.NodesKey(d.cfg.Cluster))
	members, err := d.client.SMembers(ctx, set).Result()
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	var nodes []contracts.NodeID
	var gone []any
	for _, m := range members {
		if n, err := contracts.ParseNodeID(m); err == nil {
			nodes = append(nodes, n)
		} else {
			gone = append(gone, m)
		}
	}
	said := d.askLeases(ctx, nodes)
	if d.leases.grace() {
		return nil
	}
	for _, n := range nodes {
		if said[n].missing {
			gone = append(gone, string(n))
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return d.client.SRem(ctx, set, gone...).Err()
}
