package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// ErrNodeTaken says that another process holds the lease of this node id.
var ErrNodeTaken = errors.New("the node id is in use by another process")

// ErrNoLease says that the node has no lease, so that its entries would count for nobody: call [Directory.Acquire]
// first.
var ErrNoLease = errors.New("the node has no lease")

// standing is what a directory is to its node's lease.
type standing int32

const (
	standingNone standing = iota
	standingAcquiring
	standingHeld
	standingLost
)

// Acquire takes the lease of this node, and keeps it until [Directory.Close]. Entries count from then on.
//
// If another process holds the lease, Acquire watches it: when it is renewed, or changes hands, the error is
// [ErrNodeTaken], which takes about one LeaseRenewal; when it lapses, because its holder died without a word, Acquire
// takes it. So a restart after a crash waits no longer than LeaseTTL.
//
// Other errors are [ErrUnavailable], [ErrClosed] and ctx's. After one, Acquire may be called again; after a success not.
func (d *Directory) Acquire(ctx context.Context) error {
	if d.cfg.Node == "" {
		return fmt.Errorf("%w: a lease needs a node id", ErrConfig)
	}
	if !d.standing.CompareAndSwap(int32(standingNone), int32(standingAcquiring)) {
		return errors.New("presence: Acquire was called before")
	}
	if err := d.acquire(ctx); err != nil {
		d.standing.Store(int32(standingNone))
		return err
	}
	d.leases.learn(map[contracts.NodeID]lease{d.cfg.Node: {epoch: d.cfg.Epoch}})
	d.standing.Store(int32(standingHeld))
	if !d.start(d.renewLoop) || !d.start(d.sweepLoop) {
		return ErrClosed
	}
	return nil
}

func (d *Directory) acquire(ctx context.Context) error {
	var holder string
	left := time.Duration(-1)
	for {
		taken, by, ttl, err := d.tryAcquire(ctx)
		switch {
		case err != nil && holder != "" && ctx.Err() != nil:
			return d.stillTaken(left, ctx.Err())
		case err != nil:
			return err
		case taken:
			// Other nodes find this one by its entries at once, by the set within a second.
			_, age, err := d.look(ctx)
			if err == nil && age < d.cfg.LeaseTTL {
				d.trust.young(age, d.cfg.LeaseTTL)
			}
			return err
		case holder != "" && by != holder:
			return fmt.Errorf("%w: node %s was just taken", ErrNodeTaken, d.cfg.Node)
		case ttl < 0:
			return fmt.Errorf("%w: the lease of node %s never ends: remove the key %s from Redis", ErrNodeTaken, d.cfg.Node, d.leaseKey())
		case left >= 0 && ttl > left:
			return fmt.Errorf("%w: node %s renews its lease", ErrNodeTaken, d.cfg.Node)
		}
		holder, left = by, ttl
		// Well within a renewal, so that the time left is seen to grow.
		if err := wait(ctx, min(d.cfg.LeaseRenewal/6, ttl+time.Millisecond)); err != nil {
			return d.stillTaken(ttl, err)
		}
	}
}

func (d *Directory) stillTaken(left time.Duration, err error) error {
	return fmt.Errorf("%w: node %s had %v of its lease left: %w", ErrNodeTaken, d.cfg.Node, left, err)
}

// tryAcquire takes the lease or says who holds it, and how much of its life is left.
func (d *Directory) tryAcquire(ctx context.Context) (taken bool, holder string, left time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()
	reply, err := acquireScript.run(ctx, d.client, d.leaseKeys(), d.leaseArgs()...).Slice()
	if err == nil && len(reply) == 3 {
		ours, ok1 := reply[0].(int64)
		by, ok2 := reply[1].(string)
		ms, ok3 := reply[2].(int64)
		if ok1 && ok2 && ok3 {
			return ours == 1, by, time.Duration(ms) * time.Millisecond, nil
		}
	}
	if err == nil {
		err = errReply
	}
	return false, "", 0, d.failed("take the lease", err)
}

func (d *Directory) leaseKey() contracts.Key { return contracts.LeaseKey(d.cfg.Cluster, d.cfg.Node) }

func (d *Directory) holds() bool { return standing(d.standing.Load()) == standingHeld }

// Lost is closed when the lease was found held by another process: this one was away for longer than its life, and must
// stop serving, since nobody counts its entries any more. Its sessions should be told to connect elsewhere.
func (d *Directory) Lost() <-chan struct{} { return d.lost }

// Restored gets a value each time the lease was missing and has been taken again: Redis was emptied or failed over, or
// the node was away for longer than its lease lived. Entries may have been lost or removed meanwhile, so the node should
// write those of all its sessions again, at a bounded rate, well within LeaseTTL. Watches may have been lost too, so what
// it keeps of lookups from before may have changed without a word. Signals that nobody has taken yet are one.
func (d *Directory) Restored() <-chan struct{} { return d.restored }

// renewLoop keeps the lease until ctx ends or the lease is lost.
func (d *Directory) renewLoop(ctx context.Context) {
	timer := time.NewTimer(d.cfg.LeaseRenewal)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-d.wake:
		}
		next := d.cfg.LeaseRenewal
		_, round := d.trust.look()
		switch err := d.renew(ctx); {
		case errors.Is(err, ErrNodeTaken):
			d.log.ErrorContext(ctx, "presence: the lease was lost to another process", slog.String("node", string(d.cfg.Node)), slog.Any("epoch", d.cfg.Epoch))
			d.standing.Store(int32(standingLost))
			d.trust.lose(round)
			close(d.lost)
			return
		case err != nil:
			// Sooner than usual, so that the lease is back soon after Redis is.
			next /= 4
		}
		timer.Reset(next)
	}
}

// renew renews the lease once, and takes it again if it is missing.
func (d *Directory) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()
	again := d.trust.isLost() // before it is asked for: who finds it missing meanwhile, wakes the loop once more
	_, round := d.trust.look()
	state, err := renewScript.run(ctx, d.client, d.leaseKeys(), d.leaseArgs()...).Int()
	if err != nil {
		return d.failed("renew the lease", err)
	}
	switch state {
	case -1:
		return ErrNodeTaken
	case 0:
		d.doubt(ctx, round) // before it is there again, and lookups find it
		again = true
		taken, _, _, err := d.tryAcquire(ctx)
		if err != nil {
			return err
		}
		if !taken {
			return ErrNodeTaken
		}
	}
	d.stats.renewals.Add(1)
	changed, age, err := d.look(ctx)
	if err != nil {
		return err
	}
	changed = changed || age < d.cfg.LeaseTTL // of a master that was not there before
	if changed && d.doubt(ctx, round) || again {
		d.leases.doubt()
		d.trust.regain(d.cfg.LeaseTTL)
		select {
		case d.restored <- struct{}{}:
		default:
		}
	}
	return nil
}

// release gives the lease back if it is ours.
func (d *Directory) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()
	err := releaseScript.run(ctx, d.client, d.leaseKeys(), d.cfg.Epoch.String()).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		return d.failed("release the lease, which lapses by itself", err)
	}
	return nil
}

// wait waits for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
