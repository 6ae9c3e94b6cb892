// Package across makes one directory of those of several clusters. Each cluster has its own, in a Redis of its own; what a
// node cannot find out there, the nodes of the other clusters answer over NATS, from theirs. Whoever asks is noted there as a
// watcher, as a node of that cluster would be, and is told of changes over its node subject: so what is remembered of
// clients in another cluster is as coherent as at home.
//
// A cluster that cannot be reached has nobody, as far as the others are concerned: they go on at once with what they have.
package across

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beeline-rt/beeline/contracts"
)

// Home is the directory of this node's own cluster.
type Home interface {
	Connect(ctx context.Context, a contracts.Address, e contracts.Entry) (others []contracts.Entry, watchers []contracts.NodeID, err error)
	Disconnect(ctx context.Context, a contracts.Address, entry contracts.SessionID) (watchers []contracts.NodeID, err error)
	Lookup(ctx context.Context, as []contracts.Address) ([][]contracts.Entry, error)
	LookupFor(ctx context.Context, watcher contracts.NodeID, as []contracts.Address) ([][]contracts.Entry, error)
	Trusted() bool
	Alive() []contracts.Peer
	Listed() bool
	Met(p contracts.Peer)
	Restored() <-chan struct{}
}

// Asker carries a question to a node of another cluster, and the answer back. It may put it to several; the first answer
// counts.
type Asker interface {
	// Ask puts the question once more after that time without an answer. Its error wraps Config.Nobody when no node can be reached, which is known at once.
	Ask(ctx context.Context, to contracts.Subject, question []byte, again time.Duration) ([]byte, error)
}

// Config says whose directories these are.
type Config struct {
	Cluster contracts.ClusterName   // this node's own
	Node    contracts.NodeID        // this node
	Peers   []contracts.ClusterName // the others; may be empty
	Nobody  error                   // what Asker's error wraps when there is no node of that cluster, or no way to it
	Logger  *slog.Logger            // nil: nothing is logged
}

// Directory is the directory of all clusters, as one node sees it. Make one with [New]; it is safe for concurrent use.
type Directory struct {
	Home // for what concerns this node's own cluster only

	// set once
	cfg    Config
	self   contracts.NodeID // as other clusters call this node
	asker  Asker
	log    *slog.Logger
	peers  []*peer
	missed chan struct{}

	places chan struct{} // for questions of other clusters that are being answered
	cancel context.CancelFunc
	polls  sync.WaitGroup

	mu      sync.Mutex
	closed  bool // guarded by mu
	answers sync.WaitGroup

	refused, malformed, strangers atomic.Uint64
}

// answerPlaces is how many questions of other clusters are answered at a time; each is one batch for Redis. More are
// answered with what is not known.
const answerPlaces = 32

// New returns a directory that knows nothing of the other clusters yet; see [Directory.Start].
func New(home Home, asker Asker, cfg Config) *Directory {
	d := &Directory{
		Home: home, cfg: cfg, self: cfg.Node.In(cfg.Cluster), asker: asker, log: cfg.Logger,
		missed: make(chan struct{}, 1), places: make(chan struct{}, answerPlaces), cancel: func() {},
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	for _, c := range cfg.Peers {
		d.peers = append(d.peers, &peer{cluster: c, subject: contracts.PresenceSubject(c)})
	}
	return d
}

// Start asks each cluster once which nodes it has, and from then on again and again.
func (d *Directory) Start(ctx context.Context) {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel = cancel
	var first sync.WaitGroup
	for _, p := range d.peers {
		first.Go(func() { d.poll(ctx, p) })
	}
	first.Wait()
	for _, p := range d.peers {
		d.polls.Go(func() { d.pollLoop(background, p) })
	}
}

// Close ends the polls, and returns when no question of another cluster is being answered any more.
func (d *Directory) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.polls.Wait()
	d.answers.Wait()
}

// Alive lists the nodes that live, in all clusters that can be reached.
func (d *Directory) Alive() []contracts.Peer {
	all := d.Home.Alive()
	for _, p := range d.peers {
		all = append(all, p.alive()...)
	}
	return all
}

// Met takes note of a node that was heard. It returns true if that is the first sign that its cluster can be reached again:
// what is remembered of any address is to be looked up anew, before the node takes it that it is known.
func (d *Directory) Met(x contracts.Peer) (missed bool) {
	cluster, _ := x.Node.Split(d.cfg.Cluster)
	if cluster == d.cfg.Cluster {
		d.Home.Met(x)
		return false
	}
	for _, p := range d.peers {
		if p.cluster == cluster {
			if missed = p.met(x); missed {
				d.back(p)
			}
			return missed
		}
	}
	return false
}

// Missed gets a value when another cluster cannot be reached any more, so that what is remembered leads nowhere, and when it
// can be again, and may have had no way to tell of changes meanwhile: where any address is, is to be looked up anew.
func (d *Directory) Missed() <-chan struct{} { return d.missed }

func (d *Directory) signal() {
	select {
	case d.missed <- struct{}{}:
	default:
	}
}

// Collectors returns the directory's metrics, for a registry.
func (d *Directory) Collectors() []prometheus.Collector {
	var all []prometheus.Collector
	for _, p := range d.peers {
		labels := prometheus.Labels{"peer": string(p.cluster)}
		all = append(all,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "beeline_across_reachable", ConstLabels: labels, Help: "Whether another cluster can be reached: 1 or 0.",
			}, p.reachability),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "beeline_across_asked_total", ConstLabels: labels, Help: "Questions put to another cluster.",
			}, func() float64 { return float64(p.counters.asked.Load()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "beeline_across_failed_total", ConstLabels: labels, Help: "Of these, those without an answer.",
			}, func() float64 { return float64(p.counters.failed.Load()) }),
		)
	}
	count := func(name, help string, n *atomic.Uint64) {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "beeline_across_" + name, Help: help}, func() float64 { return float64(n.Load()) }))
	}
	count("refused_total", "Questions of other clusters that came while too many were being answered.", &d.refused)
	count("strangers_total", "Questions of clusters that are not among this node's peers, which are not answered.", &d.strangers)
	count("malformed_total", "Questions of other clusters that were not of a known version.", &d.malformed)
	return all
}

// Error says of which addresses it is not known whether they are in another cluster, or in this one.
type Error struct {
	home   homeError // nil: this cluster's directory answered
	failed []bool    // in another cluster
	found  []bool    // somewhere
	err    error
}

// homeError is what a directory returns when it could look up some addresses and others not.
type homeError interface {
	error
	Away() bool
	FailedAt(i int) bool
	Elsewhere(i int) bool
	Doubtful() bool
}

// Away tells whether the directory of this node's own cluster could look up no address.
func (e *Error) Away() bool { return e.home != nil && e.home.Away() }

// FailedAt tells whether it is not known of the i-th address everywhere where it is.
func (e *Error) FailedAt(i int) bool { return e.failed[i] || e.home != nil && e.home.FailedAt(i) }

// Doubtful tells whether there are addresses of which nothing was found while that proves nothing.
func (e *Error) Doubtful() bool { return e.home != nil && e.home.Doubtful() }

// Elsewhere tells whether the i-th is not in this node's own cluster, and only what is in others is not known.
func (e *Error) Elsewhere(i int) bool {
	return e.failed[i] && !e.found[i] && (e.home == nil || !e.home.FailedAt(i))
}

// Error returns the first reason.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the first reason.
func (e *Error) Unwrap() error { return e.err }

// Lookup returns the live entries of each address in all clusters that can be reached; those of other clusters name their
// nodes with the cluster (contracts.NodeID.In). All are asked at the same time. The error is that of the home directory, or
// an [*Error]: an address that failed may have entries all the same, which are then not all. A batch has at most
// contracts.MaxPresenceQuery addresses.
func (d *Directory) Lookup(ctx context.Context, as []contracts.Address) ([][]contracts.Entry, error) {
	if len(d.peers) == 0 {
		return d.Home.Lookup(ctx, as)
	}
	findings := make([][]contracts.Finding, len(d.peers))
	errs := make([]error, len(d.peers))
	var asking sync.WaitGroup
	for i, p := range d.peers {
		asking.Go(func() { findings[i], errs[i] = d.lookup(ctx, p, as) })
	}
	entries, err := d.Home.Lookup(ctx, as)
	asking.Wait()
	e := &Error{failed: make([]bool, len(as)), found: make([]bool, len(as)), err: err}
	if err != nil && !errors.As(err, &e.home) {
		return nil, err // closed, or not even a part of it
	}
	for i := range d.peers {
		d.merge(entries, findings[i], errs[i], e)
	}
	if e.err == nil {
		return entries, nil
	}
	for i := range entries {
		e.found[i] = len(entries[i]) > 0
	}
	return entries, e
}

// merge adds what one cluster found.
func (d *Directory) merge(entries [][]contracts.Entry, findings []contracts.Finding, err error, e *Error) {
	if err != nil && e.err == nil {
		e.err = err
	}
	for i := range entries {
		if err != nil {
			e.failed[i] = true
			continue
		}
		if findings == nil { // it cannot be reached
			continue
		}
		if f := &findings[i]; len(f.Entries) > 0 {
			entries[i] = append(entries[i], f.Entries...)
		}
		if !findings[i].Known {
			e.failed[i] = true
			if e.err == nil {
				e.err = errNotKnown
			}
		}
	}
}

var errNotKnown = errors.New("another cluster does not know where an address is")
