package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// ErrUnavailable is wrapped by every error that says that Redis could not be reached or did not do what it was asked.
var ErrUnavailable = errors.New("the directory is not available")

// ErrClosed is returned by calls on a directory that is closed.
var ErrClosed = errors.New("the directory is closed")

var (
	errBusy  = errors.New("too many writes are waiting")
	errReply = errors.New("unexpected reply")
)

// Directory is one process's access to the directory. Its methods are safe for concurrent use.
type Directory struct {
	// Set once.
	cfg    Config
	log    *slog.Logger
	client redis.UniversalClient
	writer *writer // nil for a Redis Cluster
	leases *leases
	cancel context.CancelFunc
	ctx    context.Context // ends when the directory is closed: for its own loops

	// Signals.
	lost     chan struct{}
	restored chan struct{}
	corpses  chan corpse
	wake     chan struct{} // has the lease renewed at once
	named    chan struct{} // places for calls about named requests

	standing atomic.Int32 // a standing
	trust    trust
	origins  origins
	closed   atomic.Bool
	writes   atomic.Uint64 // numbers the entries that are written
	stats    stats

	mu    sync.Mutex // orders start and Close
	loops sync.WaitGroup
	ended chan struct{} // closed when Close is through
}

// Open connects to Redis and reads the leases of the nodes. It takes no lease: a process that only looks up needs none.
// The error is [ErrConfig] or [ErrUnavailable], in one sentence that says what to do.
func Open(ctx context.Context, cfg Config) (*Directory, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := &Directory{
		cfg: cfg, log: cfg.Logger, leases: newLeases(cfg.LeaseTTL),
		lost: make(chan struct{}), restored: make(chan struct{}, 1), corpses: make(chan corpse, pruneQueue),
		wake: make(chan struct{}, 1), ended: make(chan struct{}), named: make(chan struct{}, namedCalls),
	}
	d.client = cfg.Redis.open(d.greet)
	if err := d.check(ctx); err != nil {
		_ = d.client.Close()
		return nil, err
	}
	names, err := d.refresh(ctx, nil)
	if err != nil {
		_ = d.client.Close()
		return nil, err
	}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if !cfg.Redis.Cluster {
		d.writer = newWriter(d.client, cfg.callTimeout())
		d.writer.lease = func(ctx context.Context) *ownLease {
			_, round := d.trust.look()
			return d.ownLease(ctx, round)
		}
		d.start(d.writer.loop)
	}
	d.start(func(ctx context.Context) { d.refreshLoop(ctx, names) })
	d.start(d.pruneLoop)
	return d, nil
}

// start runs a loop until the directory is closed. It returns false if that is the case already.
func (d *Directory) start(loop func(context.Context)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return false
	}
	d.loops.Go(func() { loop(d.ctx) })
	return true
}

// Connect writes the entry of a session of this node. It returns the address's other live entries, and in watchers the
// other nodes that have looked it up within WatchTTL: they may keep an answer without this session, so they are to be told
// before the session is relied on. Who is no watcher and looks it up from now on finds the session. If Redis has lost what
// it held, watches are lost too: tell all nodes when [Directory.Trusted] is false afterwards.
//
// Node and Epoch of e are set by the directory; Device must be empty or have the alphabet of a client id. To write an
// entry again is harmless.
//
// The error is [ErrNoLease], [ErrNodeTaken], [ErrClosed], [ErrUnavailable] or ctx's. After the last two the entry may or
// may not have been written, even a little later: call [Directory.Disconnect] for a session that is given up.
func (d *Directory) Connect(ctx context.Context, a contracts.Address, e contracts.Entry) (
	others []contracts.Entry, watchers []contracts.NodeID, err error,
) {
	switch standing(d.standing.Load()) {
	case standingHeld:
	case standingLost:
		return nil, nil, ErrNodeTaken
	default:
		return nil, nil, ErrNoLease
	}
	if _, err := contracts.ParseSessionID(e.Session); err != nil {
		return nil, nil, fmt.Errorf("presence: connect: %w", err)
	}
	if !validDevice(e.Device) {
		return nil, nil, fmt.Errorf("presence: connect: the device: %w", contracts.ErrInvalidID)
	}
	e.Node, e.Epoch = d.cfg.Node, d.cfg.Epoch
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()

	record, watchers, err := d.change(ctx, connectScript, a, string(e.Session), encodeEntry(e, d.writes.Add(1)))
	if err != nil {
		return nil, nil, d.failed("connect", err)
	}
	d.stats.connects.Add(1)
	key := string(contracts.RecordKey(d.cfg.Cluster, a))
	return d.others(ctx, e.Session, appendFound(nil, 0, key, record)), watchers, nil
}

// keys returns the keys of an address.
func (d *Directory) keys(a contracts.Address) []contracts.Key {
	return []contracts.Key{contracts.RecordKey(d.cfg.Cluster, a), contracts.WatchersKey(d.cfg.Cluster, a)}
}

// change runs a script that changes a record, and returns the record and the other nodes that watch it.
func (d *Directory) change(ctx context.Context, s script, a contracts.Address, args ...any) (
	record []string, watchers []contracts.NodeID, err error,
) {
	keys := d.keys(a)
	cmd := redis.NewSliceCmd(ctx, s.args(false, keys, args...)...)
	err = d.do(ctx, cmd)
	if isNoScript(err) {
		cmd = redis.NewSliceCmd(ctx, s.args(true, keys, args...)...)
		err = d.do(ctx, cmd)
	}
	if err != nil {
		return nil, nil, err // and cmd may be in use
	}
	lists := make([][]string, 2)
	if len(cmd.Val()) > len(lists) {
		return nil, nil, errReply
	}
	for i, reply := range cmd.Val() {
		list, ok := reply.([]any)
		if !ok {
			return nil, nil, errReply
		}
		strs := make([]string, len(list))
		for j, v := range list {
			strs[j], _ = v.(string)
		}
		lists[i] = strs
	}
	for _, name := range lists[1] {
		if n, err := contracts.ParseNodeName(name); err == nil && n != d.cfg.Node {
			watchers = append(watchers, n)
		}
	}
	return lists[0], watchers, nil
}

// others returns the entries of a record that are alive, but for one session. An entry of which Redis did not say
// whether it is alive counts: nobody is declared offline because Redis is.
func (d *Directory) others(ctx context.Context, but contracts.SessionID, record []found) []contracts.Entry {
	d.judge(ctx, record)
	var others []contracts.Entry
	for i := range record {
		switch f := &record[i]; f.verdict {
		case live, unknown:
			if f.entry.Session != but {
				others = append(others, f.entry)
			}
		case dead:
			d.prune(f)
		}
	}
	return others
}

// Disconnect removes the entry of one session, and nothing else. It returns the other nodes that have looked the address
// up within WatchTTL. It is not an error if there is no such entry, and then there is nobody to be told; so when the reply
// of Redis was lost and the command sent again, nobody is told, and a node may keep its answer until it ends.
//
// The session may be another node's: whoever finds that a node does not hold a session may remove it. The error is
// [ErrClosed], [ErrUnavailable] or ctx's; the entry then stays until it is removed in another try, or dies with its node.
func (d *Directory) Disconnect(ctx context.Context, a contracts.Address, session contracts.SessionID) ([]contracts.NodeID, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()
	// A session id is unique, so this can hit no other session.
	_, watchers, err := d.change(ctx, disconnectScript, a, string(session))
	if err != nil {
		return nil, d.failed("disconnect", err)
	}
	d.stats.disconnects.Add(1)
	return watchers, nil
}

// do carries out a write, together with others if that pays.
func (d *Directory) do(ctx context.Context, cmd redis.Cmder) error {
	if d.closed.Load() {
		return ErrClosed
	}
	if d.writer == nil {
		return d.client.Process(ctx, cmd)
	}
	return d.writer.do(ctx, cmd)
}

// noteOutage takes note of an error that says that Redis did not answer. Whoever connected meanwhile is written when it is
// back, a moment after that. (In a Redis Cluster it would say little: the other masters were there all the time.)
func (d *Directory) noteOutage(err error) {
	if d.writer == nil || !d.holds() || isReply(err) || errors.Is(err, ErrUncertain) || errors.Is(err, context.Canceled) {
		return
	}
	d.trust.shake(d.cfg.LeaseTTL / 5)
}

// failed counts an error and says what could not be done.
func (d *Directory) failed(what string, err error) error {
	if errors.Is(err, ErrClosed) || errors.Is(err, redis.ErrClosed) {
		return ErrClosed
	}
	d.stats.errors.Add(1)
	d.noteOutage(err)
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, what, err)
}

// Close ends the loops, gives the lease back if it is still ours, and closes the connections. Entries are not removed:
// those of a node without a lease do not count. It takes about twice the time that a call may take, at most; no
// goroutine is left. Calls that are under way may fail with [ErrClosed]. The error says that the lease could not be given back, in which case it lapses. A second call waits
// for the first and returns nil.
func (d *Directory) Close(ctx context.Context) error {
	d.mu.Lock()
	first := d.closed.CompareAndSwap(false, true)
	d.mu.Unlock()
	if !first {
		<-d.ended
		return nil
	}
	defer close(d.ended)
	d.cancel()
	d.loops.Wait() // each is within one call
	var err error
	if d.holds() {
		err = d.release(ctx)
	}
	_ = d.client.Close()
	return err
}

// check finds out whether Redis is there and is what the configuration says. Its errors say what to do.
func (d *Directory) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(d.cfg.callTimeout(), time.Second))
	defer cancel()
	err := d.client.Ping(ctx).Err()
	if err == nil {
		err = d.checkCluster(ctx)
	}
	if err == nil {
		loadScripts(ctx, d.client)
		return nil
	}
	advice := "does not answer: check that it runs and that the address is right"
	for _, known := range []struct{ text, advice string }{
		{"WRONGPASS", "refuses the login: check the user name and the password"},
		{"NOAUTH", "wants a login: set a password"},
		{"invalid password", "refuses the login: check the password"},
		{"NOPERM", "does not allow this user what is needed: check its rights"},
		{"LOADING", "is still loading its data: try again in a moment"},
		{"cluster support disabled", "is not a Redis Cluster: leave cluster mode off"},
		{errIsCluster.Error(), "is part of a Redis Cluster: switch cluster mode on"},
		{"cluster has no nodes", "is part of a Redis Cluster that has no slots assigned: check its state with CLUSTER INFO"},
		{errClusterDown.Error(), "is part of a Redis Cluster that is not working: check its state with CLUSTER INFO"},
	} {
		if strings.Contains(err.Error(), known.text) {
			advice = known.advice
			break
		}
	}
	return fmt.Errorf("%w: Redis at %s %s: %w", ErrUnavailable, d.cfg.Redis, advice, err)
}

var (
	errIsCluster   = errors.New("cluster_enabled:1")
	errClusterDown = errors.New("cluster_state is not ok")
)

// checkCluster compares the kind of server with the one that is expected.
func (d *Directory) checkCluster(ctx context.Context) error {
	if !d.cfg.Redis.Cluster {
		// A server that cannot say is none.
		if info, err := d.client.Info(ctx, "cluster").Result(); err == nil && strings.Contains(info, errIsCluster.Error()) {
			return errIsCluster
		}
		return nil
	}
	info, err := d.client.ClusterInfo(ctx).Result()
	if err == nil && !strings.Contains(info, "cluster_state:ok") {
		return errClusterDown
	}
	return err
}
