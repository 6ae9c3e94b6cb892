package gatewayserver

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/rendezvous"
)

// fleet is the gateway's view of its cluster, read again and again. When Redis cannot be read, or has lost what it held, the
// last view counts: whether an instance is there shows when it is dialled.
type fleet struct {
	reader *presence.FleetReader
	poll   time.Duration
	hold   time.Duration
	log    *slog.Logger

	view  atomic.Pointer[[]contracts.Instance]
	loop  sync.WaitGroup
	since time.Time // when an update was first not believed; zero: the last one was
}

// Instances is part of gateway.Fleet.
func (f *fleet) Instances() []contracts.Instance {
	if view := f.view.Load(); view != nil {
		return *view
	}
	return nil
}

// start reads until ctx ends.
func (f *fleet) start(ctx context.Context) {
	f.loop.Go(func() {
		tick := time.NewTicker(f.poll)
		defer tick.Stop()
		for {
			f.read(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

func (f *fleet) read(ctx context.Context) {
	update, err := f.reader.Fleet(ctx)
	if err != nil {
		return // the view stays; that Redis is away is what its own logs tell
	}
	now := time.Now()
	if f.lostTooMany(update) {
		if f.since.IsZero() {
			f.since = now
			f.log.WarnContext(ctx, "gateway: more than half of the fleet is gone at once, which is not believed for now", slog.Int("left", len(update)))
		}
		if now.Sub(f.since) < f.hold {
			return
		}
	}
	f.since = time.Time{}
	f.view.Store(&update)
}

// lostTooMany tells whether more than half of the view is missing from an update, those left out that said they would go.
func (f *fleet) lostTooMany(update []contracts.Instance) bool {
	there := make(map[contracts.NodeID]bool, len(update))
	for _, i := range update {
		there[i.Node] = true
	}
	lost, all := 0, f.Instances()
	for _, i := range all {
		if !there[i.Node] && i.Load.State != contracts.NodeDraining {
			lost++
		}
	}
	return 2*lost > len(all)
}

// order is gateway.Order for the instances of one cluster.
func order(cluster contracts.ClusterName) func(contracts.PlacementKey, []contracts.Instance) []contracts.Instance {
	return func(key contracts.PlacementKey, all []contracts.Instance) []contracts.Instance {
		places := make([]rendezvous.Place, len(all))
		for i, x := range all {
			places[i] = rendezvous.Place{Cluster: cluster, Node: x.Node, Weight: x.Load.Weight}
		}
		sorted := make([]contracts.Instance, 0, len(all))
		for _, i := range rendezvous.Order(key, places) {
			sorted = append(sorted, all[i])
		}
		return sorted
	}
}
