package presence

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// origins remembers which data each master of Redis holds. A node's own lease tells that the master which keeps it was
// emptied; it does not tell of other masters of a Redis Cluster, nor of a replica that took over and has the lease but not
// the last writes; and a node that has just started knows of no lease that could be missing. A note in each master tells
// all three: it names the server and the time since when its data has been written to without a loss.
//
// It belongs to the renewal, one at a time.
type origins struct {
	notes map[contracts.Key]string
	runs  atomic.Pointer[[]string] // the run ids in notes, for whoever opens a connection
}

// greet looks at the server of a new connection. One that was restarted, or that took over from another, cannot be reached
// by an old connection: so nothing is read from it before it is known that it may lack entries.
func (d *Directory) greet(ctx context.Context, c *redis.Conn) error {
	_, round := d.trust.look()
	runs := d.origins.runs.Load()
	if runs == nil {
		return nil // nothing was read yet that could be missing
	}
	pipe := c.Pipeline()
	info, role := pipe.Info(ctx, "server"), pipe.Do(ctx, "role")
	if _, err := pipe.Exec(ctx); err != nil && !isReply(err) {
		return err // the connection may still have the answers to come, and is of no use
	}
	// A server that does not say, does not say: the next renewal will see.
	run := runID.FindStringSubmatch(info.Val())
	if run == nil || slices.Contains(*runs, run[1]) || !isMaster(role) {
		return nil
	}
	if d.doubt(ctx, round) {
		d.renewSoon()
	}
	return nil
}

var runID = regexp.MustCompile(`run_id:([0-9a-f]+)`)

// isMaster tells a master from its replicas and from a Sentinel.
func isMaster(role *redis.Cmd) bool {
	reply, err := role.Slice()
	return err == nil && len(reply) > 0 && reply[0] == "master"
}

// renewSoon has the lease renewed, and all masters looked at, at once.
func (d *Directory) renewSoon() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// look reads the note of every master, together with registering the node, which is to be done at each renewal: the set
// may have been lost, or swept while the lease was missing. It returns whether a master holds other data than when it was
// looked at last, and the age of the youngest data among what was not looked at before.
func (d *Directory) look(ctx context.Context) (changed bool, age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()
	keys, err := d.originKeys(ctx)
	if err != nil {
		return false, 0, d.failed("find the masters of the cluster", err)
	}
	register := redis.NewIntCmd(ctx, "sadd", string(contracts.NodesKey(d.cfg.Cluster)), string(d.cfg.Node))
	notes := d.readOrigins(ctx, keys, 0, register)
	if err := register.Err(); err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return false, 0, d.failed("register the node", err)
	}
	age = time.Duration(math.MaxInt64)
	known := make(map[contracts.Key]string, len(keys))
	for i, n := range notes {
		before, seen := d.origins.notes[keys[i]]
		switch {
		case n.err != nil:
			// This master is away; what it says when it is back counts.
			if seen {
				known[keys[i]] = before
			}
			d.stats.errors.Add(1)
			continue
		case !seen:
			age = min(age, n.age)
		case before != n.note:
			changed = true
			d.log.WarnContext(ctx, "presence: redis holds other data than before", slog.String("was", before), slog.String("is", n.note))
		}
		known[keys[i]] = n.note
	}
	d.origins.notes = known
	var runs []string
	for _, n := range known {
		if run, _, _ := strings.Cut(n, " "); run != "" && !slices.Contains(runs, run) {
			runs = append(runs, run)
		}
	}
	d.origins.runs.Store(&runs)
	return changed, age, nil
}

// originKeys returns a key for each master.
func (d *Directory) originKeys(ctx context.Context) ([]contracts.Key, error) {
	cluster, ok := d.client.(*redis.ClusterClient)
	if !ok {
		return []contracts.Key{contracts.OriginKey(d.cfg.Cluster, 0)}, nil
	}
	var keys []contracts.Key
	seen := map[*redis.Client]bool{}
	for i := range contracts.Origins {
		k := contracts.OriginKey(d.cfg.Cluster, i)
		master, err := cluster.MasterForKey(ctx, string(k))
		if err != nil {
			return nil, err
		}
		if !seen[master] {
			seen[master] = true
			keys = append(keys, k)
		}
	}
	return keys, nil
}

type origin struct {
	note string
	age  time.Duration
	err  error
}

// Settle says that what a cluster has in Redis is complete, if nobody has said since when yet: Redis was started just now,
// and no node can have written to it. Without it, nodes that start on a new Redis cannot tell it from one that lost
// everything a moment before, and for [contracts.LeaseTTL] ask each other for whom they do not find. It is for whoever
// starts Redis and nodes together. The error is [ErrConfig] or [ErrUnavailable].
func Settle(ctx context.Context, r Redis, cluster contracts.ClusterName) error {
	cfg := Config{Cluster: cluster, Redis: r}.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	d := &Directory{cfg: cfg, log: cfg.Logger, client: cfg.Redis.open(nil)}
	defer func() { _ = d.client.Close() }()
	ctx, cancel := context.WithTimeout(ctx, max(cfg.callTimeout(), time.Second))
	defer cancel()
	keys, err := d.originKeys(ctx)
	if err == nil {
		for _, n := range d.readOrigins(ctx, keys, settledAge) {
			err = errors.Join(err, n.err)
		}
	}
	if err != nil {
		return d.failed("settle the cluster", err)
	}
	return nil
}

const settledAge = time.Hour // anything longer than a lease lives

// readOrigins reads notes, in one pipeline with other commands. A note that is not there is made, with that age.
func (d *Directory) readOrigins(ctx context.Context, keys []contracts.Key, age time.Duration, with ...redis.Cmder) []origin {
	notes := make([]origin, len(keys))
	again := make([]int, len(keys))
	for i := range again {
		again[i] = i
	}
	cmds := with
	for _, eval := range []bool{false, true} {
		for _, i := range again {
			cmds = append(cmds, redis.NewStringSliceCmd(ctx, originScript.args(eval, keys[i:i+1], age.Milliseconds())...))
		}
		d.exec(ctx, cmds)
		var lost []int
		for j, cmd := range cmds[len(cmds)-len(again):] {
			i := again[j]
			if notes[i] = readOrigin(cmd.(*redis.StringSliceCmd)); isNoScript(notes[i].err) {
				lost = append(lost, i)
			}
		}
		again, cmds = lost, nil
		if len(again) == 0 {
			break
		}
	}
	return notes
}

func readOrigin(cmd *redis.StringSliceCmd) origin {
	reply, err := cmd.Result()
	if err != nil {
		return origin{err: err}
	}
	if len(reply) == 2 {
		if ms, err := strconv.ParseInt(reply[1], 10, 64); err == nil {
			return origin{note: reply[0], age: time.Duration(ms) * time.Millisecond}
		}
	}
	return origin{err: errReply}
}
