package across

import (
	"context"
	"errors"
	"log/slog"
	"slices"

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
		reply(d.look(ctx, q).Append(nil))
	})
}

// look looks addresses up at home for a node of another cluster.
func (d *Directory) look(ctx context.Context, q contracts.PresenceQuery) contracts.PresenceReply {
	ctx, cancel := context.WithTimeout(ctx, askTime)
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
	}
	return contracts.PresenceReply{Findings: findings}
}
