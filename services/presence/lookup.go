package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// LookupError says which addresses of a batch could not be looked up: all of them when Redis is away, some when part of a
// Redis Cluster is; and those of which nothing was found while that proves nothing, which is [ErrUncertain]. Every one is
// [ErrUnavailable].
type LookupError struct {
	Asked  int   // how many addresses the batch has
	Failed []int // the places in it of those that could not be looked up, ascending
	Err    error // why the first of them failed; ErrUncertain as well, if that is true of another
}

// FailedAt tells whether the i-th address of the batch could not be looked up.
func (e *LookupError) FailedAt(i int) bool {
	_, found := slices.BinarySearch(e.Failed, i)
	return found
}

// Doubtful tells whether there are addresses of which nothing was found while that proves nothing.
func (e *LookupError) Doubtful() bool { return errors.Is(e.Err, ErrUncertain) }

// Away tells whether no address of the batch could be looked up.
func (e *LookupError) Away() bool { return len(e.Failed) == e.Asked }

// Elsewhere is false: this directory knows nothing of other clusters.
func (*LookupError) Elsewhere(int) bool { return false }

// Error returns the reason and how many failed.
func (e *LookupError) Error() string {
	return fmt.Sprintf("%v: look up %d addresses: %v", ErrUnavailable, len(e.Failed), e.Err)
}

// Unwrap returns ErrUnavailable and the reason.
func (e *LookupError) Unwrap() []error { return []error{ErrUnavailable, e.Err} }

// Lookup returns the live entries of each address, in no order, from one round trip to Redis (and a second one when it
// meets a node that it does not know). No entries and no error: nobody holds the address.
//
// A lookup by a node, one that has its lease or not, makes it a watcher of the address: whoever changes the address within
// WatchTTL is told to tell it. So an answer may be kept for less than WatchTTL, counted from before the call. (The watch
// is kept by the clock of Redis: should that jump ahead, watches end early.) Watches are lost with all else that Redis
// holds; see [Directory.Restored].
//
// If Redis has lost what it held, that nothing was found proves nothing for a while, and is [ErrUncertain]; see
// [Directory.Trusted]. The node's own lease, read in the same pipeline, tells. In a Redis Cluster it tells of one master
// only.
//
// It is safe for concurrent use. The error is [ErrClosed], or a [*LookupError]; with the latter, what it does not name
// as failed is good. A batch should have no more than some 500 addresses: Redis does nothing else meanwhile.
func (d *Directory) Lookup(ctx context.Context, as []contracts.Address) ([][]contracts.Entry, error) {
	return d.LookupFor(ctx, d.cfg.Node, as)
}

// LookupFor is like [Directory.Lookup], for a node that may be of another cluster (contracts.NodeID.In) and is made the
// watcher; without one there is none.
func (d *Directory) LookupFor(ctx context.Context, watcher contracts.NodeID, as []contracts.Address) ([][]contracts.Entry, error) {
	if d.closed.Load() {
		return nil, ErrClosed
	}
	d.stats.lookups.Add(1)
	d.stats.lookupAddresses.Add(uint64(len(as)))
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()

	trusted, round := d.trust.look()
	cmds, certain := d.ask(ctx, watcher, as, round)
	failed := make(map[int]error)
	found := make([]found, 0, len(as))
	for i, cmd := range cmds {
		record, err := cmd.(*redis.StringSliceCmd).Result()
		switch {
		case err == nil:
			found = appendFound(found, i, string(contracts.RecordKey(d.cfg.Cluster, as[i])), record)
		case redis.HasErrorPrefix(err, "WRONGTYPE"): // not a record; the next Connect replaces it
		default:
			failed[i] = err
		}
	}
	d.judge(ctx, found)
	entries := make([][]contracts.Entry, len(as))
	d.collect(found, entries, failed)
	// Before and after: a renewal that finds the lease missing notes it before it takes the lease again.
	if still, now := d.trust.look(); !certain || !trusted || !still || now != round {
		for i := range as {
			if _, bad := failed[i]; !bad && len(entries[i]) == 0 {
				failed[i] = ErrUncertain
			}
		}
	}
	if len(failed) == 0 {
		return entries, nil
	}
	return entries, d.lookupError(len(as), failed)
}

// ask sends what a lookup asks, in one pipeline, or two if Redis has lost the script. The commands are of type
// [*redis.StringSliceCmd]. certain tells whether the lease of this node, if it should have one, was there after them.
func (d *Directory) ask(ctx context.Context, watcher contracts.NodeID, as []contracts.Address, round uint64) (cmds []redis.Cmder, certain bool) {
	cmds = make([]redis.Cmder, len(as))
	all := make([]int, len(as))
	for i := range all {
		all[i] = i
	}
	certain = d.askSome(ctx, false, watcher, as, cmds, all, round)
	var again []int
	for i, cmd := range cmds {
		if isNoScript(cmd.Err()) {
			again = append(again, i)
		}
	}
	if len(again) > 0 && !d.askSome(ctx, true, watcher, as, cmds, again, round) {
		certain = false
	}
	return cmds, certain
}

// askSome does so for the addresses in those places.
func (d *Directory) askSome(
	ctx context.Context, eval bool, watcher contracts.NodeID, as []contracts.Address, cmds []redis.Cmder, places []int, round uint64,
) bool {
	if len(places) == 0 {
		return true
	}
	batch := make([]redis.Cmder, 0, len(places)+1)
	for _, i := range places {
		if watcher == "" {
			cmds[i] = redis.NewStringSliceCmd(ctx, "hgetall", string(contracts.RecordKey(d.cfg.Cluster, as[i])))
		} else {
			args := lookupScript.args(eval, d.keys(as[i]), string(watcher), d.cfg.WatchTTL.Milliseconds())
			cmds[i] = redis.NewStringSliceCmd(ctx, args...)
		}
		batch = append(batch, cmds[i])
	}
	own := d.ownLease(ctx, round)
	if own == nil {
		d.exec(ctx, batch)
		return true
	}
	// Last, so that what is lost before a record is read is noticed.
	d.exec(ctx, append(batch, own.cmd))
	return own.there(ctx)
}

// ownLease reads the lease of this node along with other commands; nil when it should have none.
func (d *Directory) ownLease(ctx context.Context, round uint64) *ownLease {
	if !d.holds() {
		return nil
	}
	return &ownLease{d: d, round: round, cmd: d.leaseCmds(ctx, nil, []contracts.NodeID{d.cfg.Node})[0]}
}

type ownLease struct {
	d     *Directory
	round uint64 // of trust, when cmd was made
	cmd   redis.Cmder
}

// there tells whether Redis said that the lease is there. If it said that it is not, Redis has lost what it held: that is
// noted, and the lease is taken again at once.
func (o *ownLease) there(ctx context.Context) bool {
	said := readLease(o.cmd)
	if said.err != nil {
		return false
	}
	if said.missing || said.epoch != o.d.cfg.Epoch {
		if o.d.doubt(ctx, o.round) {
			o.d.renewSoon()
		}
		return false
	}
	return true
}

// readRecords reads records in one round trip, for the sweep. The commands are of type [*redis.StringSliceCmd].
func (d *Directory) readRecords(ctx context.Context, keys []string) []redis.Cmder {
	cmds := make([]redis.Cmder, len(keys))
	for i, k := range keys {
		cmds[i] = redis.NewStringSliceCmd(ctx, "hgetall", k)
	}
	d.exec(ctx, cmds)
	return cmds
}

func (d *Directory) lookupError(n int, failed map[int]error) error {
	d.stats.errors.Add(1)
	for _, err := range failed {
		d.noteOutage(err)
	}
	e, uncertain := &LookupError{Asked: n}, false
	for i := range n {
		if err, ok := failed[i]; ok {
			if e.Err == nil {
				e.Err = err
			}
			e.Failed = append(e.Failed, i)
			uncertain = uncertain || errors.Is(err, ErrUncertain)
		}
	}
	if uncertain && !errors.Is(e.Err, ErrUncertain) {
		e.Err = errors.Join(e.Err, ErrUncertain)
	}
	return e
}

// found is one field of a record that was read.
type found struct {
	place          int    // of its address in the batch
	key            string // of the record
	session, value string // the field as it is stored
	entry          contracts.Entry
	verdict        verdict
	err            error // why the verdict is unknown
}

type verdict uint8

const (
	undecided verdict = iota
	live
	absent  // does not count, and is not removed
	dead    // does not count, and may be removed
	unknown // Redis did not say
)

// appendFound reads a record, given as a list of sessions and values in turn.
func appendFound(dst []found, place int, key string, record []string) []found {
	for i := 0; i+1 < len(record); i += 2 {
		f := found{place: place, key: key, session: record[i], value: record[i+1]}
		var err error
		if f.entry, err = decodeEntry(f.session, f.value); errors.Is(err, errVersion) {
			f.verdict = absent
		} else if err != nil {
			f.verdict = dead
		}
		dst = append(dst, f)
	}
	return dst
}

// judge decides which entries are alive. The cache is enough to say that one is; that one is not, only Redis may say.
func (d *Directory) judge(ctx context.Context, found []found) {
	alive := d.leases.snapshot()
	own := d.holds()
	var ask []contracts.NodeID
	asked := map[contracts.NodeID]bool(nil)
	for i := range found {
		f := &found[i]
		if f.verdict != undecided {
			continue
		}
		n := f.entry.Node
		if epoch, ok := alive[n]; ok && epoch == f.entry.Epoch || own && n == d.cfg.Node && f.entry.Epoch == d.cfg.Epoch {
			f.verdict = live
			continue
		}
		if !asked[n] {
			if asked == nil {
				asked = make(map[contracts.NodeID]bool)
			}
			asked[n] = true
			ask = append(ask, n)
		}
	}
	if len(ask) == 0 {
		return
	}
	d.stats.leaseAsks.Add(1)
	said := d.askLeases(ctx, ask)
	grace := d.leases.grace()
	for i := range found {
		f := &found[i]
		s, ok := said[f.entry.Node]
		switch {
		case !ok || f.verdict != undecided && f.verdict != live:
		case f.verdict == live && (s.err != nil || s.missing):
			// The cache said so, and a moment later will say otherwise.
		case s.err != nil:
			f.verdict, f.err = unknown, s.err
		case s.missing && grace:
			f.verdict = absent
		case s.missing || s.epoch != f.entry.Epoch:
			f.verdict = dead // also when the cache took an old epoch of this node for the present one
		default:
			f.verdict = live
		}
	}
}

// collect sorts the live entries to their addresses, hands over the dead ones to be removed, and notes where there is
// doubt.
func (d *Directory) collect(found []found, entries [][]contracts.Entry, failed map[int]error) {
	all := make([]contracts.Entry, 0, len(found)) // one allocation for the batch
	for i := 0; i < len(found); {
		place, start := found[i].place, len(all)
		for ; i < len(found) && found[i].place == place; i++ {
			switch f := &found[i]; f.verdict {
			case live:
				all = append(all, f.entry)
			case dead:
				d.prune(f)
			case unknown:
				failed[place] = f.err
			}
		}
		if _, bad := failed[place]; !bad {
			entries[place] = all[start:len(all):len(all)]
		}
	}
}
