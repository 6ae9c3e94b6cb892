package presencetest

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/services/presence"
)

// masters is the size of a cluster, and slots what they share.
const (
	masters = 3
	slots   = 16384
)

// Cluster is a real Redis Cluster of three masters without replicas or persistence.
type Cluster struct{ nodes []*process }

// StartCluster starts a Redis Cluster that ends with the test. It takes a second or two, most of it gossip.
func StartCluster(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{}
	clients := make([]*redis.Client, masters)
	for i := range masters {
		p := startProcess(tb, func(dir string, port int) []string {
			return plain(dir, port, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(port+10000),
				"--cluster-require-full-coverage", "no", "--cluster-node-timeout", "15000")
		})
		c.nodes = append(c.nodes, p)
		clients[i] = redis.NewClient(&redis.Options{Addr: p.address(), Protocol: 2, DisableIdentity: true})
		defer func() { _ = clients[i].Close() }()
	}
	for i, client := range clients {
		// Each with an epoch of its own, or they spend seconds on agreeing who is right.
		run(tb, client.Do(tb.Context(), "cluster", "set-config-epoch", i+1).Err())
		run(tb, client.ClusterAddSlotsRange(tb.Context(), i*slots/masters, (i+1)*slots/masters-1).Err())
	}
	for _, p := range c.nodes[1:] {
		port := strconv.Itoa(p.port)
		run(tb, clients[0].Do(tb.Context(), "cluster", "meet", "127.0.0.1", port, strconv.Itoa(p.port+10000)).Err())
	}
	for _, client := range clients {
		Until(tb, "all nodes of the cluster know each other", startTime, func() bool {
			info, err := client.ClusterInfo(tb.Context()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_size:"+strconv.Itoa(masters))
		})
	}
	return c
}

func run(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("the Redis Cluster: %v", err)
	}
}

// Config returns how a directory reaches the cluster: by one of its nodes.
func (c *Cluster) Config() presence.Redis {
	return presence.Redis{Addrs: []string{c.nodes[0].address()}, Cluster: true}
}

// Client returns a client of the test's own, which is closed with the test.
func (c *Cluster) Client(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.nodes[0].address()}, Protocol: 2, DisableIdentity: true})
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// Pause stops one of the three masters where it is; 0 is the one whose address is in Config.
func (c *Cluster) Pause(tb testing.TB, master int) { tb.Helper(); c.nodes[master].pause(tb) }

// Resume lets a paused master go on.
func (c *Cluster) Resume(tb testing.TB, master int) { tb.Helper(); c.nodes[master].resume(tb) }

// Move gives the slot of a key, which must not hold any keys, to the next master. Clients are not told.
func (c *Cluster) Move(tb testing.TB, key string) {
	tb.Helper()
	clients := make([]*redis.Client, masters)
	for i, p := range c.nodes {
		clients[i] = redis.NewClient(&redis.Options{Addr: p.address(), Protocol: 2, DisableIdentity: true})
		defer func() { _ = clients[i].Close() }()
	}
	slot, err := clients[0].ClusterKeySlot(tb.Context(), key).Result()
	run(tb, err)
	owner := 0
	for int(slot) >= (owner+1)*slots/masters {
		owner++
	}
	next := (owner + 1) % masters
	id, err := clients[next].Do(tb.Context(), "cluster", "myid").Text()
	run(tb, err)
	for _, i := range []int{next, owner} {
		run(tb, clients[i].Do(tb.Context(), "cluster", "setslot", slot, "node", id).Err())
	}
}

// Until waits until done returns true, asking every few milliseconds. After the given time the test fails.
func Until(tb testing.TB, what string, within time.Duration, done func() bool) {
	tb.Helper()
	if done() {
		return
	}
	deadline := time.After(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-deadline:
			tb.Fatalf("waited %v in vain: %s", within, what)
		case <-tick.C:
			if done() {
				return
			}
		}
	}
}
