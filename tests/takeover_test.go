package tests

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// The promises about whole clusters, of real processes that are killed. `./task prove` runs them with many clients, and holds
// them to their times.

// roamers are clients that come back by themselves, of whom there are none yet.
func roamers(t *testing.T, clusters ...*fleet.Cluster) *fleet.Roamers {
	t.Helper()
	r := &fleet.Roamers{}
	for _, c := range clusters {
		r.Registries = append(r.Registries, c.Registry.URL)
	}
	t.Cleanup(r.Close)
	return r
}

// roam adds clients evenly over a time, each with this key or none, and waits until all are connected.
func roam(t *testing.T, r *fleet.Roamers, all []contracts.ClientID, key contracts.PlacementKey, over time.Duration) {
	t.Helper()
	start := time.Now()
	for i, name := range all {
		<-time.After(time.Until(start.Add(over * time.Duration(i) / time.Duration(len(all)))))
		r.Add(t.Context(), name, key)
	}
	patiently(t, "all are connected", func() bool { return connected(r.All()) == len(r.All()) })
}

func connected(all []*fleet.Roamer) (n int) {
	for _, r := range all {
		if r.Member() != nil {
			n++
		}
	}
	return n
}

// whereabouts is how many clients are on each node, and in each cluster.
func whereabouts(all []*fleet.Roamer) (nodes map[contracts.NodeID]int, clusters map[contracts.ClusterName]int) {
	nodes, clusters = map[contracts.NodeID]int{}, map[contracts.ClusterName]int{}
	for _, r := range all {
		if node, cluster, _ := r.State(); node != "" {
			nodes[node]++
			clusters[cluster]++
		}
	}
	return nodes, clusters
}

// on are the clients that are on a node, or in a cluster.
func on(all []*fleet.Roamer, there func(contracts.NodeID, contracts.ClusterName) bool) (some []*fleet.Roamer) {
	for _, r := range all {
		if node, cluster, _ := r.State(); node != "" && there(node, cluster) {
			some = append(some, r)
		}
	}
	return some
}

// back waits until clients that have lost their connection are elsewhere, and returns how long each took, sorted.
func back(t *testing.T, all []*fleet.Roamer, since time.Time, there func(contracts.NodeID, contracts.ClusterName) bool) []time.Duration {
	t.Helper()
	took := make([]time.Duration, len(all))
	patiently(t, "all are back", func() bool {
		for i, r := range all {
			node, cluster, at := r.State()
			if node == "" || !there(node, cluster) || at.Before(since) {
				return false
			}
			took[i] = at.Sub(since)
		}
		return true
	})
	slices.Sort(took)
	return took
}

// p99 is what 99 of 100 do not exceed.
func p99(sorted []time.Duration) time.Duration { return sorted[(len(sorted)*99+99)/100-1] }

// spell says how long clients took, in one line.
func spell(sorted []time.Duration) string {
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("p50 %v, p99 %v, all %v", round(sorted[len(sorted)/2]), round(p99(sorted)), round(sorted[len(sorted)-1]))
}

// circle lets each client send to the next one, again and again until every message was delivered and has arrived.
type circle struct {
	mu       sync.Mutex
	answered map[contracts.ClientID]map[string]int // outcomes
	arrived  map[contracts.ClientID]bool
}

func newCircle(r *fleet.Roamers) *circle {
	c := &circle{}
	c.begin()
	r.Hear = c.hear
	return c
}

func (c *circle) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered, c.arrived = map[contracts.ClientID]map[string]int{}, map[contracts.ClientID]bool{}
}

func (c *circle) hear(r *fleet.Roamer, e contracts.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e.Msg != nil:
		c.arrived[r.Name] = true
	case e.ID != nil:
		if c.answered[r.Name] == nil {
			c.answered[r.Name] = map[string]int{}
		}
		c.answered[r.Name][fleet.Outcome(e)]++
	}
}

// talk has all send, and those again whose message did not arrive, until all have. It returns the outcomes.
func (c *circle) talk(t *testing.T, all []*fleet.Roamer) map[string]int {
	t.Helper()
	c.begin()
	next := func(i int) contracts.ClientID { return all[(i+1)%len(all)].Name }
	again := time.Time{}
	patiently(t, "all talk", func() bool {
		c.mu.Lock()
		var silent []int
		for i := range all {
			if !c.arrived[next(i)] {
				silent = append(silent, i)
			}
		}
		c.mu.Unlock()
		if len(silent) > 0 && time.Since(again) > time.Second {
			again = time.Now()
			for _, i := range silent {
				if m := all[i].Member(); m != nil {
					_ = m.Post(contracts.AppendSend(nil, 1, next(i), []byte(`1`))) // one that fails is done again
				}
			}
		}
		return len(silent) == 0
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := map[string]int{}
	for _, outcomes := range c.answered {
		for outcome, n := range outcomes {
			sum[outcome] += n
		}
	}
	return sum
}

func TestOneClusterCarriesEveryoneWhenTheOtherIsKilledAndGivesThemBack(t *testing.T) {
	t.Parallel()
	clients := sized(60, 2000)
	clusters := fleet.RunClusters(t, fleet.Plan{Edges: 2, GatewayFlags: probing()}, "a", "b")
	all := names("c", clients)
	crowd := roamers(t, clusters...)
	talks := newCircle(crowd)
	roam(t, crowd, all, "", sized(time.Second, 5*time.Second))
	_, before := whereabouts(crowd.All())
	t.Logf("before: %v", before)
	for _, c := range clusters {
		if before[c.Name] < clients/4 {
			t.Fatalf("%d of %d are on cluster %s: the test shows nothing", before[c.Name], clients, c.Name)
		}
	}

	onA := func(_ contracts.NodeID, c contracts.ClusterName) bool { return c == "a" }
	onB := func(_ contracts.NodeID, c contracts.ClusterName) bool { return c == "b" }
	victims := on(crowd.All(), onA)
	killed := time.Now()
	clusters[0].Kill()
	took := back(t, victims, killed, onB)
	t.Logf("%d of %d clients lost cluster a, and are on b: %s after the kill", len(victims), clients, spell(took))
	if bar := 15 * time.Second; *prove && p99(took) > bar {
		t.Errorf("p99 is %v, over %v", p99(took), bar)
	}
	if _, now := whereabouts(crowd.All()); now["b"] != clients {
		t.Errorf("not all are on b: %v", now)
	}
	outcomes := talks.talk(t, crowd.All())
	t.Logf("all talk %v after the kill: %v", time.Since(killed).Round(time.Millisecond), outcomes)

	returned := time.Now()
	clusters[0].Restart()
	restarted := time.Since(returned)
	fleet.Acquaint(t, clusters...)
	t.Logf("a was started again in %v, and all know of it %v after that", restarted.Round(time.Millisecond), (time.Since(returned) - restarted).Round(time.Millisecond))
	roam(t, crowd, names("d", clients), "", sized(time.Second, 5*time.Second))
	_, after := whereabouts(crowd.All())
	t.Logf("after as many more have come: %v", after)
	if after["a"] < clients*2/3 { // a was empty, b was not: most of the new ones
		t.Errorf("a does not take its share again: %v", after)
	}
	t.Logf("among each other on a: %v", talks.talk(t, on(crowd.All(), onA)))
}
