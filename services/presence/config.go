package presence

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/beeline-rt/beeline/contracts"
)

// Defaults for what a [Config] leaves at zero; those of the lease and of a watch are in contracts.
const (
	DefaultTimeout       = 300 * time.Millisecond
	DefaultSweepInterval = 10 * time.Minute
	DefaultSweepPause    = time.Second
)

// Config is what a directory needs to know. Zero values stand for the defaults, where there is one.
type Config struct {
	Cluster contracts.ClusterName
	Node    contracts.NodeID // empty for a process that only looks up
	Epoch   contracts.Epoch  // unique to this start of the node

	Redis Redis

	// Report, if set, is asked at each renewal what this node reports of itself; that is written with the lease, in the same
	// call. It must not block, and return a valid report.
	Report func() contracts.Load

	LeaseTTL     time.Duration // how long the node counts as alive without a renewal
	LeaseRenewal time.Duration // how often the lease is renewed: less than half of LeaseTTL
	WatchTTL     time.Duration // how long a lookup has this node told of changes

	SweepInterval time.Duration // how often one of the nodes looks for dead entries; negative: this one never does
	SweepPause    time.Duration // between two steps of a sweep; a step reads some 200 keys

	Logger *slog.Logger // nil: nothing is logged
}

// Redis says where Redis is, and how to reach it.
type Redis struct {
	Addrs      []string // host:port, or the path of a socket; several for Sentinel or Cluster
	MasterName string   // of Sentinel, whose addresses are in Addrs
	Cluster    bool     // Addrs are some nodes of a Redis Cluster; also if there is but one

	Username, Password                 string
	SentinelUsername, SentinelPassword string
	DB                                 int // not in a Redis Cluster
	TLS                                *tls.Config

	// Dialer replaces the network, for tests; not together with TLS.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

	// Timeout bounds a connect, a write and a read. A call tries twice at most, and takes twice this at most.
	Timeout time.Duration
}

// quiet keeps go-redis from writing to standard error, in the midst of everything: this package reports what goes wrong.
// Its logger is one for the whole process.
var quiet = sync.OnceFunc(func() { redis.SetLogger(noLog{}) })

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// ErrConfig is wrapped by the error of [Open] for a configuration that cannot work.
var ErrConfig = errors.New("invalid presence configuration")

func (c Config) withDefaults() Config {
	if c.LeaseTTL == 0 {
		c.LeaseTTL = contracts.LeaseTTL
	}
	if c.LeaseRenewal == 0 {
		c.LeaseRenewal = contracts.LeaseRenewal
	}
	if c.WatchTTL == 0 {
		c.WatchTTL = contracts.WatchTTL
	}
	if c.SweepInterval == 0 {
		c.SweepInterval = DefaultSweepInterval
	}
	if c.SweepPause <= 0 {
		c.SweepPause = DefaultSweepPause
	}
	if c.Redis.Timeout == 0 {
		c.Redis.Timeout = DefaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	if _, err := contracts.ParseClusterName(c.Cluster); err != nil {
		return fmt.Errorf("%w: the cluster's name: %w", ErrConfig, err)
	}
	if c.Node != "" {
		if _, err := contracts.ParseNodeID(c.Node); err != nil {
			return fmt.Errorf("%w: the node's id: %w", ErrConfig, err)
		}
	}
	switch r := c.Redis; {
	case len(r.Addrs) == 0:
		return fmt.Errorf("%w: no address of Redis", ErrConfig)
	case len(r.Addrs) > 1 && !r.Cluster && r.MasterName == "":
		return fmt.Errorf("%w: several addresses of Redis need a Redis Cluster or the name of a Sentinel master", ErrConfig)
	case r.Cluster && r.MasterName != "":
		return fmt.Errorf("%w: Redis is either a Cluster or behind Sentinel, not both", ErrConfig)
	case r.Cluster && r.DB != 0:
		return fmt.Errorf("%w: a Redis Cluster has database 0 only", ErrConfig)
	case r.Dialer != nil && r.TLS != nil:
		return fmt.Errorf("%w: TLS is not for a dialer of your own", ErrConfig)
	case r.Timeout < 0 || c.LeaseTTL < 0 || c.LeaseRenewal < 0 || c.WatchTTL < 0:
		return fmt.Errorf("%w: a time is negative", ErrConfig)
	case c.LeaseRenewal >= c.LeaseTTL/2:
		return fmt.Errorf("%w: the lease must be renewed at least twice per life, so every %v is too seldom for a life of %v",
			ErrConfig, c.LeaseRenewal, c.LeaseTTL)
	}
	return nil
}

// refreshInterval is how old a cached lease may get.
func (c Config) refreshInterval() time.Duration { return c.LeaseTTL / 10 }

// callTimeout bounds every call.
func (c Config) callTimeout() time.Duration { return 2 * c.Redis.Timeout }

func (r Redis) String() string { return strings.Join(r.Addrs, ", ") }

// open makes the client. greet sees every new connection before it is used.
func (r Redis) open(greet func(context.Context, *redis.Conn) error) redis.UniversalClient {
	quiet()
	o := &redis.UniversalOptions{
		Addrs: r.Addrs, MasterName: r.MasterName, IsClusterMode: r.Cluster,
		Username: r.Username, Password: r.Password, DB: r.DB,
		SentinelUsername: r.SentinelUsername, SentinelPassword: r.SentinelPassword,
		TLSConfig: r.TLS, Dialer: r.Dialer, OnConnect: greet,

		// RESP2 has HGETALL as a flat list, which costs no map per client; there are no pushes to listen to.
		Protocol: 2,

		// Without ContextTimeoutEnabled a deadline does not reach the socket, and the defaults of the rest let one
		// call take 20 seconds.
		ContextTimeoutEnabled: true,
		DialTimeout:           r.Timeout, ReadTimeout: r.Timeout, WriteTimeout: r.Timeout, PoolTimeout: r.Timeout,
		DialerRetries: 1, MaxRetries: 1, MaxRetryBackoff: r.Timeout / 8,

		// Pipelines have a pool of their own, with big buffers (2 x 128 KiB by default). Both pools are larger than what
		// runs at a time: a call that has to wait for a connection takes a timer from a pool that is one for the whole
		// process, which kills the second synctest bubble that meets it ("select on synctest channel from outside
		// bubble").
		PoolSize: 16, PipelinePoolSize: 32, PipelineReadBufferSize: 64 << 10, PipelineWriteBufferSize: 64 << 10,

		// What these send on connect, older servers answer with errors.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if r.Cluster {
		o.PoolSize = 0 // the default, which is more: sessions are not written in batches there
	}
	return redis.NewUniversalClient(o)
}
