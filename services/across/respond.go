package across

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Answer answers a question of another cluster's node, on a goroutine of its own: reply is called once, unless the question
// is none. It does not block; ctx bounds the answer.
func (d *Directory) Answer(ctx context.Context, question []byte, reply func([]byte)) {
	q, err := contracts.ReadPresenceQuery(question)
	if err != nil {
		if d.malformed.Add(1) == 1 {
			d.log.Error("malformed question: does another cluster run another version?")
		}
		return
	}
	if cluster, _ := q.Asker.Split(""); !slices.Contains(d.cfg.Peers, cluster) {
		// It would not be told of all changes: of what concerns all nodes, only those of known clusters are.
		if d.strangers.Add(1) == 1 {
			d.log.Error("a cluster asks that is not among the peers of this node, and gets no answer", slog.String("cluster", string(cluster)))
		}
		return
	}
	if len(q.Addresses) == 0 {
		reply(contracts.PresenceReply{Peers: d.Home.Alive()}.Append(nil))
		return
	}
	nothing := contracts.PresenceReply{Findings: make([]contracts.Finding, len(q.Addresses))}
	select {
	case d.places <- struct{}{}:
	default:
		d.refused.Add(1)
		reply(nothing.Append(nil))
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		<-d.places
		reply(nothing.Append(nil))
		return
	}
	d.answers.Go(func() {
		defer func() { <-d.places }()
		answer, known := d.look(ctx, q)
		if !known {
			// Redis may be away from this node only: another one that is asked should come first.
			d.pause(ctx, unknownWait)
		}
		reply(answer.Append(nil))
	})
}

// unknownWait is how long an answer that knows nothing is held back: a little longer than until the question is put again.
const unknownWait = 150 * time.Millisecond

// pause waits, or until the directory is closed.
func (d *Directory) pause(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-d.ending:
	case <-ctx.Done():
	case <-timer.C:
	}
}

// look looks addresses up at home for a node of another cluster. known is false if it has found out nothing for certain.
func (d *Directory) look(ctx context.Context, q contracts.PresenceQuery) (reply contracts.PresenceReply, known bool) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	entries, err := d.Home.LookupFor(ctx, q.Asker, q.Addresses)
	findings := make([]contracts.Finding, len(q.Addresses))
	var part homeError
	some, trusted := errors.As(err, &part), d.Home.Trusted()
	for i := range findings {
		if err == nil || some {
			findings[i].Entries = entries[i]
		}
		findings[i].Known = (err == nil || some && !part.FailedAt(i)) && trusted
		known = known || findings[i].Known
	}
	return contracts.PresenceReply{Findings: findings}, known
}
