package gatewayserver

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/fleetview"
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

	instances atomic.Pointer[[]contracts.Instance]
	loop      sync.WaitGroup

	view fleetview.View // owned by Start, and then by the loop
}

// Instances is part of gateway.Fleet.
func (f *fleet) Instances() []contracts.Instance {
	if all := f.instances.Load(); all != nil {
		return *all
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
	held := f.view.Held()
	f.view.Take(time.Now(), update, nil, f.hold)
	if !held && f.view.Held() {
		f.log.WarnContext(ctx, "gateway: more than half of the fleet is missing at once; not acted on for now",
			slog.Int("known", f.view.Known()), slog.Int("missing", len(f.view.Missing())), slog.Duration("hold", f.hold))
	}
	all := f.view.Instances()
	f.instances.Store(&all)
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
