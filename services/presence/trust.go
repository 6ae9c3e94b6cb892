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

// trust tells whether what is missing from Redis proves anything. A node notices by its own lease, at its next lookup, that
// Redis was emptied; and by the origin of each master's data, at its next renewal, that this is the case or that another
// server has taken over, which may lack the last writes. Every node notices within a renewal, and writes its entries
// again; so a life of a lease after this one has noticed, what is missing is missing.
type trust struct {
	mu      sync.Mutex
	lost    bool      // the lease was found missing, and has not been taken again
	until   time.Time // when what is missing proves something again
	unknown time.Time // until when there may be nodes that this one does not know
	round   uint64    // how often the lease was taken again
}

// young notes that this node has started so soon after the data was lost that others may not have written theirs again:
// a life after the loss they have. Half a life after it they have their leases again, and are known.
func (t *trust) young(age, life time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = time.Now().Add(life - age)
	t.unknown = time.Now().Add(life/2 - age)
}

// shake notes that Redis did not answer: when it is back, it takes nodes a moment to write what it missed.
func (t *trust) shake(moment time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if until := time.Now().Add(moment); until.After(t.until) {
		t.until = until
	}
}

// listed tells whether all nodes that are alive are known.
func (t *trust) listed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !time.Now().Before(t.unknown)
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

// Trusted tells whether a lookup that finds nothing proves anything. It does not from when a loss was noticed, by a renewal
// or a lookup, until LeaseTTL after [Directory.Restored] was signalled; for LeaseTTL after a loss that this node has
// started too late to notice; and for a moment after Redis did not answer. A directory that holds no lease cannot know,
// and says true.
func (d *Directory) Trusted() bool {
	trusted, _ := d.trust.look()
	return trusted
}

// doubt notes that Redis has lost what it held, which was seen by a command that was sent in that round of trust. It
// returns false if that is known, or no wonder.
func (d *Directory) doubt(ctx context.Context, round uint64) bool {
	if d.closed.Load() || !d.trust.lose(round) {
		return false // closing gives the lease back
	}
	d.stats.losses.Add(1)
	d.log.WarnContext(ctx, "presence: redis has lost entries", slog.String("node", string(d.cfg.Node)))
	d.leases.doubt()
	return true
}
