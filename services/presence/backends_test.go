package presence_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/presence/presencetest"
)

func TestMiniredisKeepsThePromises(t *testing.T) {
	t.Parallel()
	presencetest.RunInBubbles(t, func(t *testing.T) presencetest.Backend {
		t.Helper()
		mini := presencetest.StartMini(t)
		return presencetest.Backend{Config: mini.Config(), Client: mini.Client(t)}
	})
}

func TestRedisKeepsThePromises(t *testing.T) {
	t.Parallel()
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		t.Helper()
		r := presencetest.StartRedis(t)
		return presencetest.Backend{Config: r.Config(), Client: r.Client(t)}
	})
}

func TestRedisClusterKeepsThePromises(t *testing.T) {
	t.Parallel()
	c := presencetest.StartCluster(t)
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		t.Helper()
		return presencetest.Backend{Config: c.Config(), Client: c.Client(t), Shared: true}
	})
}

// A client's record is elsewhere than the directory thinks. No slot that moves may hold keys, so the cluster is a new one.
func TestLookupFollowsASlotThatMoved(t *testing.T) {
	t.Parallel()
	c := presencetest.StartCluster(t)
	a := join(t, presence.Config{Cluster: "move", Node: "a", Epoch: 1, Redis: c.Config()})
	reader := open(t, presence.Config{Cluster: "move", Redis: c.Config()})
	clients := make([]contracts.ClientID, 20)
	for i := range clients {
		clients[i] = contracts.ClientID("client-" + strconv.Itoa(i))
	}
	c.Move(t, string(contracts.RecordKey("move", clients[7].Address())))
	for _, client := range clients {
		connect(t, a, client)
	}
	entries, err := reader.Lookup(t.Context(), presencetest.Addresses(clients...))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if len(e) != 1 {
			t.Errorf("client %d: %v", i, e)
		}
	}
}

// A third of the clients cannot be read: the others must not suffer.
func TestMasterThatHangsFailsOnlyItsOwnClients(t *testing.T) {
	t.Parallel()
	c := presencetest.StartCluster(t)
	d := open(t, presence.Config{Cluster: "hang", Node: "a", Epoch: 1, Redis: c.Config(), LeaseTTL: time.Minute})
	if err := d.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	clients := make([]contracts.ClientID, 60)
	for i := range clients {
		clients[i] = contracts.ClientID("client-" + strconv.Itoa(i))
		connect(t, d, clients[i])
	}
	c.Pause(t, 2)
	defer c.Resume(t, 2)
	start := time.Now()
	entries, err := d.Lookup(t.Context(), presencetest.Addresses(clients...))
	if took := time.Since(start); took > 2*presence.DefaultTimeout+slack {
		t.Errorf("the lookup took %v", took)
	}
	var part *presence.LookupError
	if !errors.As(err, &part) || !errors.Is(err, presence.ErrUnavailable) || len(part.Failed) == 0 || len(part.Failed) == len(clients) {
		t.Fatalf("the lookup says %v: %v", err, part.Failed)
	}
	found := 0
	for _, e := range entries {
		found += len(e)
	}
	if found != len(clients)-len(part.Failed) {
		t.Errorf("%d of %d clients failed, and %d were found", len(part.Failed), len(clients), found)
	}
	c.Resume(t, 2)
	presencetest.Until(t, "all can be looked up again", 10*time.Second, func() bool {
		_, err := d.Lookup(t.Context(), presencetest.Addresses(clients...))
		return err == nil
	})
}
