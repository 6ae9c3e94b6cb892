package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// leaseKeys are what the scripts of the lease touch: the lease and, if this node reports of itself, its report.
func (d *Directory) leaseKeys() []contracts.Key {
	keys := []contracts.Key{d.leaseKey()}
	if d.cfg.Report != nil {
		keys = append(keys, contracts.LoadKey(d.cfg.Cluster, d.cfg.Node))
	}
	return keys
}

// leaseArgs are what they are told.
func (d *Directory) leaseArgs() []any {
	args := []any{d.cfg.Epoch.String(), d.cfg.LeaseTTL.Milliseconds()}
	if d.cfg.Report != nil {
		args = append(args, d.cfg.Report().Encode())
	}
	return args
}

// Announce has the lease renewed at once, and with it what this node reports of itself: it has changed in a way that others
// should not have to wait for.
func (d *Directory) Announce() { d.renewSoon() }

// Fleet reads from Redis which nodes live and report of themselves, sorted by id, in two round trips. A node whose report
// is missing, or cannot be read because it is of a later version, is left out.
//
// It reads what is there and draws no conclusion: after Redis was emptied there are few nodes or none, for as long as they
// need to write their leases again. The error is [ErrUnavailable], [ErrClosed] or ctx's.
func (d *Directory) Fleet(ctx context.Context) ([]contracts.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*d.cfg.callTimeout())
	defer cancel()
	if d.closed.Load() {
		return nil, ErrClosed
	}
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
