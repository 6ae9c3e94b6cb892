package registry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/apikey"
	"github.com/beeline-rt/beeline/services/fleetview"
)

// Fleet reads what the nodes of one cluster report of themselves.
type Fleet interface {
	Fleet(context.Context) ([]contracts.Instance, error)
}

// Verifier checks a client's token.
type Verifier interface {
	Verify(token string) (contracts.ClientID, error)
}

// Arbiter is asked whether a client may connect; an error is neither yes nor no.
type Arbiter interface {
	Allows(ctx context.Context, op, client, target string) (bool, error)
}

// Options are what a registry works with.
type Options struct {
	Fleets   map[contracts.ClusterName]Fleet
	Secrets  contracts.TicketSecrets
	Verifier Verifier      // nil: no tokens
	APIKeys  []apikey.Hash // of backends, who may ask for any client
	Allowed  *AllowList    // nil: every client whose number is valid
	Arbiter  Arbiter       // nil: nobody else is asked
	Logger   *slog.Logger
}

// Registry answers where to connect. Its methods are safe for concurrent use.
type Registry struct {
	// Set once.
	cfg     Config
	opts    Options
	log     *slog.Logger
	board   board
	limits  *limiter
	metrics *metrics
	places  chan struct{} // for requests under way

	loops sync.WaitGroup
	stop  context.CancelFunc

	mu    sync.Mutex
	views map[contracts.ClusterName]*fleetview.View // guarded by mu
}

// New returns a registry that knows nothing yet: call [Registry.Start]. cfg must be valid.
func New(cfg Config, o Options) *Registry {
	r := &Registry{
		cfg: cfg, opts: o, log: o.Logger, limits: newLimiter(cfg.Rate, cfg.Burst),
		views: map[contracts.ClusterName]*fleetview.View{}, places: make(chan struct{}, maxUnderWay),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	for cluster := range o.Fleets {
		r.views[cluster] = &fleetview.View{}
	}
	r.metrics = newMetrics(r)
	return r
}

// Start reads every fleet once, whatever comes of it, and then again and again until [Registry.Close].
func (r *Registry) Start(ctx context.Context) {
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	var first sync.WaitGroup
	for cluster, fleet := range r.opts.Fleets {
		first.Go(func() { r.read(ctx, cluster, fleet) })
		r.loops.Go(func() {
			first.Wait()
			r.poll(ctx, cluster, fleet)
		})
	}
	if r.opts.Allowed != nil {
		r.loops.Go(func() { r.opts.Allowed.follow(ctx, r.log) })
	}
	first.Wait()
}

// Close ends what Start began.
func (r *Registry) Close() {
	r.stop()
	r.loops.Wait()
}

func (r *Registry) poll(ctx context.Context, cluster contracts.ClusterName, fleet Fleet) {
	// Spread, so that registries that start together do not read together.
	timer := time.NewTimer(rand.N(r.cfg.Poll))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r.read(ctx, cluster, fleet)
		timer.Reset(r.cfg.Poll)
	}
}

// read reads one fleet, and takes over what is to be acted on.
func (r *Registry) read(ctx context.Context, cluster contracts.ClusterName, fleet Fleet) {
	update, err := fleet.Fleet(ctx)
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.views[cluster]
	before := *v
	result := v.Take(now, update, err, r.cfg.Hold)
	r.report(ctx, cluster, &before, v, result, err)
	r.board.update(now, r.counting(now))
}

// counting returns the instances that count, of all clusters: those of one that cannot be read only if there is no other.
// It needs r.mu.
func (r *Registry) counting(now time.Time) []instances {
	var fresh, stale []instances
	for _, cluster := range slices.Sorted(maps.Keys(r.views)) {
		v := r.views[cluster]
		c := instances{cluster, v.Instances()}
		if v.Stale(now, r.cfg.Hold) {
			stale = append(stale, c)
		} else if len(c.all) > 0 {
			fresh = append(fresh, c)
		}
	}
	if len(fresh) == 0 {
		return stale
	}
	return fresh
}

// report counts what became of an update, and logs it when it is news.
func (r *Registry) report(ctx context.Context, cluster contracts.ClusterName, before, v *fleetview.View, result fleetview.Outcome, err error) {
	name := slog.String("cluster", string(cluster))
	switch result {
	case fleetview.Unread:
		r.metrics.unread.Inc()
		if before.UnreadSince().IsZero() {
			r.log.WarnContext(ctx, "registry: the fleet cannot be read", name, slog.Any("error", err))
		}
	case fleetview.Refused:
		r.metrics.refused.Inc()
		if !before.Held() {
			r.log.ErrorContext(ctx, "registry: more than half the fleet is missing at once; not acted on for now", name,
				slog.Int("known", v.Known()), slog.Int("missing", len(v.Missing())), slog.Duration("hold", r.cfg.Hold))
		}
	case fleetview.Accepted:
		if !before.UnreadSince().IsZero() {
			r.log.InfoContext(ctx, "registry: the fleet can be read again", name)
		}
		if before.Held() {
			r.log.WarnContext(ctx, "registry: the fleet is what it is said to be", name, slog.Int("instances", v.Known()))
		}
	}
}

// Ready says why this registry should not be asked; no reason, and it should. notices are what an operator should know
// in any case.
func (r *Registry) Ready() (reasons, notices []string) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	readable, fit := false, 0
	for _, cluster := range slices.Sorted(maps.Keys(r.views)) {
		v := r.views[cluster]
		_, n := r.board.fitness(cluster)
		fit += n
		readable = readable || !v.Stale(now, r.cfg.Hold)
		if !v.UnreadSince().IsZero() {
			notices = append(notices, "the fleet of cluster "+string(cluster)+" cannot be read")
		}
		if v.Held() {
			notices = append(notices, fmt.Sprintf("more than half of cluster %s was missing at once, which is not acted on for now; still missing: %v", cluster, v.Missing()))
		}
	}
	if !readable {
		reasons = append(reasons, "no fleet can be read")
	}
	if fit == 0 {
		reasons = append(reasons, "no instance is fit to serve")
	}
	return reasons, notices
}
