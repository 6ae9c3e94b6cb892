package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// FleetReader reads what the nodes of a cluster report of themselves. It holds no lease, keeps nothing and runs nothing by
// itself. Its methods are safe for concurrent use.
type FleetReader struct{ d *Directory }

// NewFleetReader returns a reader, or [ErrConfig]. It does not connect: the cluster may be away now, and come back.
func NewFleetReader(r Redis, cluster contracts.ClusterName) (*FleetReader, error) {
	cfg := Config{Cluster: cluster, Redis: r}.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &FleetReader{&Directory{cfg: cfg, log: slog.New(slog.DiscardHandler), client: cfg.Redis.open(nil)}}, nil
}

// Check says whether Redis is there and is what the configuration says: [ErrUnavailable], in one sentence that says what
// to do.
func (f *FleetReader) Check(ctx context.Context) error { return f.d.check(ctx) }

// Close closes the connections. Calls that are under way fail.
func (f *FleetReader) Close() { _ = f.d.client.Close() }

// Fleet reads from Redis which nodes live and report of themselves, sorted by id, in two round trips. A node whose report
// is missing, or cannot be read because it is of a later version, is left out.
//
// It reads what is there and draws no conclusion: after Redis was emptied there are few nodes or none, for as long as they
// need to write their leases again. The error is [ErrUnavailable], [ErrClosed] or ctx's.
func (f *FleetReader) Fleet(ctx context.Context) ([]contracts.Instance, error) {
	d := f.d
	ctx, cancel := context.WithTimeout(ctx, 2*d.cfg.callTimeout())
	defer cancel()
	names, err := d.client.SMembers(ctx, string(contracts.NodesKey(d.cfg.Cluster))).Result()
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, d.failed("list the nodes", err)
	}
	slices.Sort(names)
	nodes := make([]contracts.NodeID, 0, len(names))
	var cmds []redis.Cmder
	for _, name := range names {
		n, err := contracts.ParseNodeID(name)
		if err != nil {
			continue // not written by a node
		}
		nodes = append(nodes, n)
		cmds = d.leaseCmds(ctx, cmds, []contracts.NodeID{n})
		cmds = append(cmds, redis.NewStringCmd(ctx, "get", string(contracts.LoadKey(d.cfg.Cluster, n))))
	}
	d.exec(ctx, cmds)
	fleet := make([]contracts.Instance, 0, len(nodes))
	for i, n := range nodes {
		lease := readLease(cmds[2*i])
		load, err := readLoad(cmds[2*i+1])
		if err = errors.Join(lease.err, err); err != nil {
			return nil, d.failed("read the reports of nodes", err)
		}
		if !lease.missing && load != nil {
			fleet = append(fleet, contracts.Instance{Peer: contracts.Peer{Node: n, Epoch: lease.epoch}, Load: *load})
		}
	}
	return fleet, nil
}

// readLoad returns nil if there is none that could be understood.
func readLoad(cmd redis.Cmder) (*contracts.Load, error) {
	text, err := cmd.(*redis.StringCmd).Result()
	switch {
	case errors.Is(err, redis.Nil), redis.HasErrorPrefix(err, "WRONGTYPE"):
		return nil, nil //nolint:nilnil // nothing there, and nothing wrong
	case err != nil:
		return nil, fmt.Errorf("a report: %w", err)
	}
	load, err := contracts.ParseLoad(text)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // of a later version: that node is not for this reader
	}
	return &load, nil
}
