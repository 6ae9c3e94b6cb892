package presence

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	pruneQueue = 1024 // dead entries that wait to be removed; more are left to the next reader
	pruneBatch = 128
)

// corpse is a dead entry as it was read.
type corpse struct{ key, session, value string }

// prune has a dead entry removed, soon and without waiting. Nothing depends on it.
func (d *Directory) prune(f *found) {
	select {
	case d.corpses <- corpse{f.key, f.session, f.value}:
	default:
		d.stats.pruneSkipped.Add(1)
	}
}

// pruneLoop removes dead entries until ctx ends.
func (d *Directory) pruneLoop(ctx context.Context) {
	batch := make([]corpse, 0, pruneBatch)
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-d.corpses:
			batch = append(batch[:0], c)
		}
	fill:
		for len(batch) < pruneBatch {
			select {
			case c := <-d.corpses:
				batch = append(batch, c)
			default:
				break fill
			}
		}
		if err := d.bury(ctx, batch); err != nil && ctx.Err() == nil {
			d.stats.errors.Add(1) // they are found again
		}
	}
}

// bury removes dead entries in one round trip, and returns the first error.
func (d *Directory) bury(ctx context.Context, batch []corpse) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()
	cmds := d.buryWith(ctx, false, batch)
	if slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return isNoScript(cmd.Err()) }) {
		cmds = d.buryWith(ctx, true, batch)
	}
	var first error
	for _, cmd := range cmds {
		n, err := cmd.(*redis.IntCmd).Result()
		if err != nil && first == nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			first = err
		}
		d.stats.pruned.Add(uint64(max(n, 0)))
	}
	return first
}

func (d *Directory) buryWith(ctx context.Context, eval bool, batch []corpse) []redis.Cmder {
	cmds := make([]redis.Cmder, len(batch))
	for i, c := range batch {
		cmds[i] = redis.NewIntCmd(ctx, pruneScript.args(eval, []contracts.Key{contracts.Key(c.key)}, c.session, c.value)...)
	}
	d.exec(ctx, cmds)
	return cmds
}
