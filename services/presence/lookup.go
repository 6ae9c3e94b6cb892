package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// LookupError says which clients of a batch could not be looked up: all of them when Redis is away, some when part of a
// Redis Cluster is. It is [ErrUnavailable].
type LookupError struct {
	Failed []int // their places in the batch, ascending
	Err    error // why the first of them failed
}

// FailedAt tells whether the i-th client of the batch could not be looked up.
func (e *LookupError) FailedAt(i int) bool {
	_, found := slices.BinarySearch(e.Failed, i)
	return found
}

// Error returns the reason and how many failed.
func (e *LookupError) Error() string {
	return fmt.Sprintf("%v: look up %d clients: %v", ErrUnavailable, len(e.Failed), e.Err)
}

// Unwrap returns ErrUnavailable and the reason.
func (e *LookupError) Unwrap() []error { return []error{ErrUnavailable, e.Err} }

// Lookup returns the live entries of each client, in no order, from one round trip to Redis (and a second one when it
// meets a node that it does not know). No entries and no error: the client has no session.
//
// It is safe for concurrent use. The error is [ErrClosed], or a [*LookupError]; with the latter, what it does not name
// as failed is good. A batch should have no more than some 500 clients: Redis does nothing else meanwhile.
func (d *Directory) Lookup(ctx context.Context, clients []contracts.ClientID) ([][]contracts.Entry, error) {
	if d.closed.Load() {
		return nil, ErrClosed
	}
	d.stats.lookups.Add(1)
	d.stats.lookupClients.Add(uint64(len(clients)))
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()

	keys := make([]string, len(clients))
	for i, c := range clients {
		keys[i] = string(contracts.ClientKey(d.cfg.Cluster, c.Token()))
	}
	failed := make(map[int]error)
	found := make([]found, 0, len(clients))
	for i, cmd := range d.readRecords(ctx, keys) {
		record, err := cmd.(*redis.StringSliceCmd).Result()
		switch {
		case err == nil:
			found = appendFound(found, i, keys[i], record)
		case redis.HasErrorPrefix(err, "WRONGTYPE"): // not a record; the next Connect replaces it
		default:
			failed[i] = err
		}
	}
	d.judge(ctx, found)
	entries := make([][]contracts.Entry, len(clients))
	d.collect(found, entries, failed)
	if len(failed) == 0 {
		return entries, nil
	}
	return entries, d.lookupError(len(clients), failed)
}

// readRecords reads records in one round trip. The commands are of type [*redis.StringSliceCmd].
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
	e := &LookupError{}
	for i := range n {
		if err, ok := failed[i]; ok {
			if e.Err == nil {
				e.Err = err
			}
			e.Failed = append(e.Failed, i)
		}
	}
	return e
}

// found is one field of a record that was read.
type found struct {
	client         int    // whose, by its place in the batch
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
func appendFound(dst []found, client int, key string, record []string) []found {
	for i := 0; i+1 < len(record); i += 2 {
		f := found{client: client, key: key, session: record[i], value: record[i+1]}
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

// collect sorts the live entries to their clients, hands over the dead ones to be removed, and notes for whom there is
// doubt.
func (d *Directory) collect(found []found, entries [][]contracts.Entry, failed map[int]error) {
	all := make([]contracts.Entry, 0, len(found)) // one allocation for the batch
	for i := 0; i < len(found); {
		client, start := found[i].client, len(all)
		for ; i < len(found) && found[i].client == client; i++ {
			switch f := &found[i]; f.verdict {
			case live:
				all = append(all, f.entry)
			case dead:
				d.prune(f)
			case unknown:
				failed[client] = f.err
			}
		}
		if _, bad := failed[client]; !bad {
			entries[client] = all[start:len(all):len(all)]
		}
	}
}
