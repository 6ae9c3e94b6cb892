package presence

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// ErrUncertain says that nothing was found of an address, which proves nothing: Redis has lost what it held, and not all
// nodes have had the time to write it again.
var ErrUncertain = errors.New("nothing was found, but Redis has lost entries lately")

// trust tells whether what is missing from Redis proves anything. A node notices by its own lease that Redis was emptied
// or failed over with lost writes: the lease is gone. Every node notices within a renewal, and writes its entries again;
// so a life of a lease after this one has taken its lease again, what is missing is missing.
type trust struct {
	mu    sync.Mutex
	lost  bool      // the lease was found missing, and has not been taken again
	until time.Time // when what is missing proves something again
	round uint64    // how often the lease was taken again
}

// look returns whether what is missing proves anything, and the round for doubt.
func (t *trust) look() (trusted bool, round uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.lost && !time.Now().Before(t.until), t.round
}

func (t *trust) isLost() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// lose notes that the lease was missing for a command that was sent in that round. It returns false if that is known.
func (t *trust) lose(round uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost || t.round != round {
		return false
	}
	t.lost = true
	return true
}

// regain notes that the lease was taken again.
func (t *trust) regain(life time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost, t.until = false, time.Now().Add(life)
	t.round++
}

// Trusted tells whether a lookup that finds nothing proves anything. It does not from when this node's lease was found
// missing, by a renewal or a lookup, until LeaseTTL after [Directory.Restored] was signalled. A directory that holds no
// lease cannot know, and says true.
func (d *Directory) Trusted() bool {
	trusted, _ := d.trust.look()
	return trusted
}

// doubt notes that the lease was missing, or another's, for a command that was sent in that round of trust. It returns
// false if that is known, or no wonder.
func (d *Directory) doubt(ctx context.Context, round uint64) bool {
	if d.closed.Load() || !d.trust.lose(round) {
		return false // closing gives the lease back
	}
	d.stats.leaseMissing.Add(1)
	d.log.WarnContext(ctx, "presence: the lease was missing", slog.String("node", string(d.cfg.Node)))
	d.leases.doubt()
	return true
}
