package presence_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/presence/presencetest"
)

// slack is what a busy machine may add to a bound.
const slack = 700 * time.Millisecond

func open(tb testing.TB, cfg presence.Config) *presence.Directory {
	tb.Helper()
	d, err := presence.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = d.Close(context.WithoutCancel(tb.Context())) })
	return d
}

func join(tb testing.TB, cfg presence.Config) *presence.Directory {
	tb.Helper()
	d := open(tb, cfg)
	if err := d.Acquire(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return d
}

func connect(tb testing.TB, d *presence.Directory, client contracts.ClientID) contracts.SessionID {
	tb.Helper()
	s := contracts.NewSessionID()
	if _, _, err := d.Connect(tb.Context(), client.Address(), contracts.Entry{Session: s, Since: time.Now()}); err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestAStoppedRedisHoldsNobody(t *testing.T) {
	t.Parallel()
	r := presencetest.StartRedis(t)
	const bound = 2*presence.DefaultTimeout + slack
	d := join(t, presence.Config{Cluster: "c", Node: "a", Epoch: 1, Redis: r.Config()})
	s := connect(t, d, "ann")
	r.Pause(t)
	ann := contracts.ClientID("ann").Address()
	calls := map[string]func(context.Context) error{
		"connect": func(ctx context.Context) error {
			_, _, err := d.Connect(ctx, ann, contracts.Entry{Session: s})
			return err
		},
		"disconnect": func(ctx context.Context) error {
			_, err := d.Disconnect(ctx, ann, s)
			return err
		},
		"lookup": func(ctx context.Context) error {
			_, err := d.Lookup(ctx, presencetest.Addresses("ann", "bob"))
			return err
		},
		"open": func(ctx context.Context) error {
			_, err := presence.Open(ctx, presence.Config{Cluster: "c", Redis: r.Config()})
			return err
		},
	}
	for name, call := range calls {
		start := time.Now()
		err := call(t.Context())
		if took := time.Since(start); !errors.Is(err, presence.ErrUnavailable) || took > bound {
			t.Errorf("%s: %v after %v", name, err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start = time.Now()
		err = call(ctx)
		cancel()
		if took := time.Since(start); err == nil || took > slack {
			t.Errorf("%s with 50 ms: %v after %v", name, err, took)
		}
	}
	start := time.Now()
	err := d.Close(t.Context())
	if took := time.Since(start); err == nil || took > 2*bound {
		t.Errorf("close: %v after %v", err, took)
	}
}

func TestNobodyIsOfflineAfterAnOutage(t *testing.T) {
	t.Parallel()
	r := presencetest.StartRedis(t)
	const life = 700 * time.Millisecond
	a := join(t, presence.Config{Cluster: "c", Node: "a", Epoch: 1, Redis: r.Config(), LeaseTTL: life, LeaseRenewal: life / 4})
	b := join(t, presence.Config{Cluster: "c", Node: "b", Epoch: 2, Redis: r.Config(), LeaseTTL: life, LeaseRenewal: life / 4})
	s := connect(t, a, "ann")
	find := func() ([]contracts.Entry, error) {
		entries, err := b.Lookup(t.Context(), presencetest.Addresses("ann"))
		if err != nil {
			return nil, err
		}
		return entries[0], nil
	}
	if got, err := find(); err != nil || len(got) != 1 {
		t.Fatalf("before the outage: %v, %v", got, err)
	}
	<-time.After(life + life/2) // the time of grace after the start
	r.Pause(t)
	<-time.After(2 * life) // both leases lapse
	if _, err := find(); !errors.Is(err, presence.ErrUnavailable) {
		t.Errorf("in the outage: %v", err)
	}
	r.Resume(t)
	var answers int
	for over := time.After(2 * life); ; {
		got, err := find()
		if err == nil {
			answers++
			if len(got) != 1 || got[0].Session != s {
				t.Fatalf("answer %d after the outage: %v", answers, got)
			}
		}
		select {
		case <-over:
		case <-time.After(10 * time.Millisecond):
			continue
		}
		break
	}
	if pruned := b.Stats().Pruned; answers == 0 || pruned != 0 {
		t.Errorf("%d answers, %d entries removed", answers, pruned)
	}
	select {
	case <-a.Restored():
	default:
		t.Error("node a does not know that its lease was gone")
	}
}

func TestARedisThatComesBackEmptyIsUsedAgain(t *testing.T) {
	t.Parallel()
	r := presencetest.StartRedis(t)
	d := join(t, presence.Config{Cluster: "c", Node: "a", Epoch: 1, Redis: r.Config(), LeaseTTL: 2 * time.Second, LeaseRenewal: 100 * time.Millisecond})
	connect(t, d, "ann")
	r.Kill()
	if _, err := d.Lookup(t.Context(), presencetest.Addresses("ann")); !errors.Is(err, presence.ErrUnavailable) {
		t.Errorf("lookup without Redis: %v", err)
	}
	r.Restart(t)
	select {
	case <-d.Restored():
	case <-time.After(10 * time.Second):
		t.Fatal("the node does not learn that its lease was gone")
	}
	connect(t, d, "ann")
	entries, err := d.Lookup(t.Context(), presencetest.Addresses("ann"))
	if err != nil || len(entries[0]) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestSentinelLeadsToTheMaster(t *testing.T) {
	t.Parallel()
	s := presencetest.StartSentinel(t)
	d := join(t, presence.Config{Cluster: "c", Node: "a", Epoch: 1, Redis: s.Config()})
	connect(t, d, "ann")
	entries, err := d.Lookup(t.Context(), presencetest.Addresses("ann"))
	if err != nil || len(entries[0]) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if n := s.Redis.Client(t).DBSize(t.Context()).Val(); n != 5 {
		t.Errorf("the master has %d keys", n)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	plain, locked := presencetest.StartRedis(t), presencetest.StartRedis(t, "--requirepass", "secret")
	clustered := presencetest.StartRedis(t, "--cluster-enabled", "yes")
	gone := presencetest.StartRedis(t)
	gone.Kill()
	with := func(r presence.Redis, change func(*presence.Redis)) presence.Redis { change(&r); return r }
	for _, test := range []struct {
		name  string
		redis presence.Redis
		want  string
		is    error
	}{
		{"nothing listens", gone.Config(), gone.Addr() + " does not answer", presence.ErrUnavailable},
		{"no password", locked.Config(), "wants a login", presence.ErrUnavailable},
		{"wrong password", with(locked.Config(), func(r *presence.Redis) { r.Password = "x" }), "refuses the login", presence.ErrUnavailable},
		{"wrong user", with(locked.Config(), func(r *presence.Redis) { r.Username, r.Password = "u", "x" }), "refuses the login", presence.ErrUnavailable},
		{"no cluster", with(plain.Config(), func(r *presence.Redis) { r.Cluster = true }), "is not a Redis Cluster", presence.ErrUnavailable},
		{"a cluster", clustered.Config(), "switch cluster mode on", presence.ErrUnavailable},
		{"a cluster that is down", with(clustered.Config(), func(r *presence.Redis) { r.Cluster = true }), "Cluster", presence.ErrUnavailable},
		{"no address", presence.Redis{}, "no address", presence.ErrConfig},
		{"two addresses", presence.Redis{Addrs: []string{"a:1", "b:1"}}, "several addresses", presence.ErrConfig},
		{"both", presence.Redis{Addrs: []string{"a:1"}, Cluster: true, MasterName: "m"}, "not both", presence.ErrConfig},
		{"a database", presence.Redis{Addrs: []string{"a:1"}, Cluster: true, DB: 1}, "database 0", presence.ErrConfig},
		{"a bad time", presence.Redis{Addrs: []string{"a:1"}, Timeout: -1}, "negative", presence.ErrConfig},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := presence.Open(t.Context(), presence.Config{Cluster: "c", Redis: test.redis})
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
			t.Log(err)
		})
	}
	for name, cfg := range map[string]presence.Config{
		"no cluster's name": {Redis: plain.Config()},
		"a node's id":       {Cluster: "c", Node: "A", Redis: plain.Config()},
		"seldom renewed":    {Cluster: "c", Redis: plain.Config(), LeaseTTL: time.Second, LeaseRenewal: time.Second},
	} {
		if _, err := presence.Open(t.Context(), cfg); !errors.Is(err, presence.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenLogsIn(t *testing.T) {
	t.Parallel()
	r := presencetest.StartRedis(t, "--requirepass", "secret")
	cfg := r.Config()
	cfg.Password = "secret"
	d := join(t, presence.Config{Cluster: "c", Node: "a", Epoch: 1, Redis: cfg})
	connect(t, d, "ann")
}

func TestACrashIsNoticedWithinSixSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mini := presencetest.StartMini(t)
		reader := open(t, presence.Config{Cluster: "c", Redis: mini.Config()})
		<-time.After(time.Minute)
		for i := range 8 {
			gate := &presencetest.Gate{Base: mini.Config().Dialer}
			cfg := presence.Config{Cluster: "c", Node: "a", Epoch: contracts.Epoch(i), Redis: mini.Config()}
			cfg.Redis.Dialer = gate.Dial
			d := join(t, cfg)
			connect(t, d, "ann")
			<-time.After(10*time.Second + time.Duration(i)*173*time.Millisecond)
			gate.Cut()
			crash := time.Now()
			_ = d.Close(t.Context())
			presencetest.Until(t, "the entry stops counting", time.Minute, func() bool {
				entries, err := reader.Lookup(t.Context(), presencetest.Addresses("ann"))
				return err == nil && len(entries[0]) == 0
			})
			if took := time.Since(crash); took < contracts.LeaseTTL-contracts.LeaseRenewal || took > 6*time.Second {
				t.Errorf("crash %d was noticed after %v", i, took)
			}
		}
	})
}
