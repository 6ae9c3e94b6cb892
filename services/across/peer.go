package across

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	// pollEvery is how often each node asks each other cluster which nodes it has.
	pollEvery = time.Second
	// askTime bounds one question, as far as its asker allows: a node there asks its Redis, which takes a fraction of it, and
	// the way there and back is between data centres.
	askTime = time.Second
	// goneAfter is how long a cluster must not answer before its nodes count as dead. Shorter would make a moment's loss
	// of a link a loss of everybody there; longer would leave those who watch them in the dark.
	goneAfter = 3 * time.Second
	// spareTime is how long a cluster is not asked for addresses after it did not answer, or knew nothing: nothing piles up
	// behind it.
	spareTime = 500 * time.Millisecond
)

// peer is another cluster, as this node sees it.
type peer struct {
	cluster  contracts.ClusterName // set once
	subject  contracts.Subject     // set once
	counters struct{ asked, failed atomic.Uint64 }

	mu     sync.Mutex       // guards the following
	nodes  []contracts.Peer // none once a poll finds that it has been silent for goneAfter
	heard  time.Time        // when it last said which nodes it has
	down   bool             // nobody was there, or it has been silent for goneAfter; only an answered poll ends that
	known  bool             // it was heard at least once
	failed bool             // a question was not answered since it was heard last
	spare  time.Time        // not asked for addresses until then
	way    time.Duration    // what an answer takes, smoothed
	signs  uint64           // counts what was heard of it: a failure says nothing if there was a sign since the question
}

// alive returns its nodes, as this cluster calls them.
func (p *peer) alive() []contracts.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nodes
}

// met takes note of a node that was heard, and returns whether nobody of its cluster was before.
func (p *peer) met(x contracts.Peer) (back bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if back = p.down; back {
		p.down, p.failed, p.heard, p.nodes = false, false, time.Now(), nil
	}
	p.signs++
	nodes := slices.DeleteFunc(slices.Clone(p.nodes), func(y contracts.Peer) bool { return y.Node == x.Node && y.Epoch < x.Epoch })
	if !slices.ContainsFunc(nodes, func(y contracts.Peer) bool { return y.Node == x.Node }) {
		p.nodes = append(nodes, x)
	}
	return back
}

func (p *peer) sign() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signs
}

func (p *peer) reachability() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known && !p.down {
		return 1
	}
	return 0
}

// pollLoop asks one cluster which nodes it has until ctx ends.
func (d *Directory) pollLoop(ctx context.Context, p *peer) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.poll(ctx, p)
		}
	}
}

// poll asks one cluster which nodes it has.
func (d *Directory) poll(ctx context.Context, p *peer) {
	before := p.sign()
	reply, err := d.ask(ctx, p, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = true
		if ctx.Err() == nil && p.signs == before && (errors.Is(err, d.cfg.Nobody) || time.Since(p.heard) > goneAfter) {
			d.lost(ctx, p, err)
		}
		if time.Since(p.heard) > goneAfter {
			p.nodes = nil
		}
		return
	}
	nodes := make([]contracts.Peer, len(reply.Peers))
	for i, x := range reply.Peers {
		nodes[i] = contracts.Peer{Node: x.Node.In(p.cluster), Epoch: x.Epoch}
	}
	back := p.failed || !p.known
	p.nodes, p.heard, p.down, p.known, p.failed = nodes, time.Now(), false, true, false
	if back {
		d.back(p)
	}
}

// back notes that a cluster can be reached, after at least one question without an answer: what changed there meanwhile
// was not told, or to too few.
func (d *Directory) back(p *peer) {
	d.log.Info("another cluster can be reached", slog.String("peer", string(p.cluster)))
	d.signal()
}

// lost notes that a cluster cannot be reached. p.mu is held.
func (d *Directory) lost(ctx context.Context, p *peer, err error) {
	if !p.down {
		p.down, p.failed = true, true
		level := slog.LevelWarn
		if !p.known { // it starts later, perhaps
			level = slog.LevelInfo
		}
		d.log.Log(ctx, level, "another cluster cannot be reached", slog.String("peer", string(p.cluster)), slog.Any("error", err))
		d.signal()
	}
}

// lookup asks one cluster for addresses. It returns nil for one that cannot be reached.
func (d *Directory) lookup(ctx context.Context, p *peer, as []contracts.Address) ([]contracts.Finding, error) {
	p.mu.Lock()
	down, spared, before := p.down, time.Now().Before(p.spare), p.signs
	p.mu.Unlock()
	switch {
	case down:
		return nil, nil
	case spared:
		return nil, errSilent
	}
	reply, err := d.ask(ctx, p, as)
	for tries := 1; err == nil && !known(reply.Findings) && tries < unknownTries; tries++ {
		reply, err = d.ask(ctx, p, as)
	}
	switch {
	case err == nil:
		if !known(reply.Findings) {
			p.rest()
		}
		for _, f := range reply.Findings {
			for i := range f.Entries {
				f.Entries[i].Node = f.Entries[i].Node.In(p.cluster)
			}
		}
		return reply.Findings, nil
	case errors.Is(err, d.cfg.Nobody):
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.signs != before {
			return nil, errSilent
		}
		d.lost(ctx, p, err)
		return nil, nil
	}
	p.rest()
	return nil, err
}

// unknownTries is how often a cluster is asked that knows nothing: its Redis may be away from the node only that was asked,
// and another one gets the question next time, most likely.
const unknownTries = 4

func known(findings []contracts.Finding) bool {
	return slices.ContainsFunc(findings, func(f contracts.Finding) bool { return f.Known })
}

// rest has the cluster not asked for addresses for a while.
func (p *peer) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spare = time.Now().Add(spareTime)
}

var errSilent = errors.New("another cluster does not answer")

// askAgain is the least time after which a question is put again, for whoever got it may hang. If the way is long, it is
// twice what an answer takes.
const askAgain = 100 * time.Millisecond

func (p *peer) again() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(askAgain, 2*p.way)
}

// took notes how long an answer took that needs nothing looked up.
func (p *peer) took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.way += (d - p.way) / 4
}

// ask puts one question.
func (d *Directory) ask(ctx context.Context, p *peer, as []contracts.Address) (contracts.PresenceReply, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	p.counters.asked.Add(1)
	began := time.Now()
	answer, err := d.asker.Ask(ctx, p.subject, contracts.PresenceQuery{Asker: d.self, Addresses: as}.Append(nil), p.again())
	var reply contracts.PresenceReply
	if err == nil {
		reply, err = contracts.ReadPresenceReply(answer, len(as))
	}
	if err != nil {
		p.counters.failed.Add(1)
	} else if len(as) == 0 {
		p.took(time.Since(began))
	}
	return reply, err
}
