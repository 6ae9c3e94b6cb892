package tests

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// patientGateway lets instances be slow, as they are when other tests take the processor: a gateway would go to alternates.
func patientGateway() []string {
	return append(probing(), "--answer-time", sized(5*time.Second, gatewayserver.DefaultConfig().Gateway.AnswerTime).String())
}

func TestClientsOfOneKeyMeetOnOneInstanceAndTheirTrafficCostsTheBrokerNothing(t *testing.T) {
	t.Parallel()
	clients := sized(60, 1000)
	clusters := fleet.RunClusters(t, fleet.Plan{Edges: 2, GatewayFlags: patientGateway()}, "a", "b")
	crowd := roamers(t, clusters...)
	crowd.Shuffle = true
	r := newRoom(crowd)
	roam(t, crowd, names("c", clients), "room", sized(time.Second/5, 2*time.Second)) // through either registry and either gateway
	nodes, _ := whereabouts(crowd.All())
	var through []float64
	for _, c := range clusters {
		through = append(through, fleet.Metric(t, []string{c.Gateway.Admin}, "beeline_gateway_connections"))
	}
	t.Logf("%d clients with one key are on %v; through the gateways %v", clients, nodes, through)
	if len(nodes) != 1 {
		t.Fatalf("they are on %v", nodes)
	}
	if slices.Min(through) == 0 || through[0]+through[1] <= float64(clients) { // those of the other gateway pass both
		t.Errorf("through the gateways %v: not all ways were taken", through)
	}

	r.gather(t)
	r.talk(t) // where the members are is asked once
	admins := slices.Concat(clusters[0].Admins(), clusters[1].Admins())
	sent, asked, before := metric(t, admins, "beeline_bus_sent_total"), metric(t, admins, "beeline_across_asked_total"), brokered(clusters)
	const rounds = 10
	for range rounds {
		r.talk(t)
	}
	sent, messages := metric(t, admins, "beeline_bus_sent_total")-sent, brokered(clusters)-before
	asked = metric(t, admins, "beeline_across_asked_total") - asked
	t.Logf("%d messages to clients and %d to a group of %d: %v node messages, %d messages of NATS, of %v questions between clusters",
		rounds*clients, rounds, clients, sent, messages, asked)
	// The clusters ask each other every second who lives, whatever is said. A question and its answer pass two servers each,
	// into them and out of them; it may be put more than once, and one may be under way at either end.
	if sent != 0 || float64(messages) > 12*(asked+float64(len(admins))) {
		t.Errorf("a room's traffic within its instance cost %v node messages and %d messages of NATS, of %v questions between clusters", sent, messages, asked)
	}
	// And this is how they would be seen: somebody of another room, on the other edge of that cluster.
	_, home, _ := crowd.All()[0].State()
	i := slices.IndexFunc(clusters, func(c *fleet.Cluster) bool { return c.Name == home })
	other := slices.IndexFunc(clusters[i].Edges, func(e *fleet.Part) bool { return nodes[contracts.NodeID(e.Name)] == 0 })
	if got := connectTo(t, clusters[i].Edges[other].URL, "stranger").Send("c0", `1`); got != "delivered" || brokered(clusters) == before+messages {
		t.Errorf("a message from another instance: %s, and no message of NATS was counted", got)
	}
}

// room is clients that talk to each other and in a group.
type room struct {
	crowd *fleet.Roamers
	talks int // so far

	mu       sync.Mutex                 // guards the following
	heard    map[contracts.ClientID]int // messages
	answered map[string]int             // outcomes
}

func newRoom(crowd *fleet.Roamers) *room {
	r := &room{crowd: crowd, heard: map[contracts.ClientID]int{}, answered: map[string]int{}}
	crowd.Hear = func(who *fleet.Roamer, e contracts.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case e.Msg != nil:
			r.heard[who.Name]++
		case e.ID != nil:
			r.answered[fleet.Outcome(e)]++
		}
	}
	return r
}

func (r *room) post(t *testing.T, i int, frame []byte) {
	t.Helper()
	if err := r.crowd.All()[i].Member().Post(frame); err != nil {
		t.Error(err)
	}
}

// gather makes all members of the group.
func (r *room) gather(t *testing.T) {
	t.Helper()
	for i := range r.crowd.All() {
		r.post(t, i, contracts.AppendGroup(nil, 1, contracts.OpJoin, "room"))
	}
	patiently(t, "all are in the group", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.answered[""] == len(r.crowd.All())
	})
}

// talk lets everybody send to the next one, and the first to all, and waits until everything was answered and has arrived.
func (r *room) talk(t *testing.T) {
	t.Helper()
	all := r.crowd.All()
	r.talks++
	for i := range all {
		r.post(t, i, contracts.AppendSend(nil, uint64(2*r.talks), all[(i+1)%len(all)].Name, []byte(`"hi"`)))
	}
	r.post(t, 0, contracts.AppendPublish(nil, uint64(2*r.talks+1), "room", []byte(`"all"`)))
	patiently(t, "all have heard", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, one := range all[1:] { // who publishes need not hear it
			if r.heard[one.Name] < 2*r.talks {
				return false
			}
		}
		return r.answered["delivered"] == r.talks*len(all) && r.answered["sent"] == r.talks
	})
}

// brokered is how many messages the NATS servers have handled.
func brokered(clusters []*fleet.Cluster) (n uint64) {
	for _, c := range clusters {
		n += c.Messages()
	}
	return n
}

// homes are the instances to which a registry sends the clients of so many keys.
func homes(t *testing.T, registry string, keys int) []string {
	t.Helper()
	asker := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer asker.CloseIdleConnections()
	all := make([]string, keys)
	for i := range all {
		body := fmt.Sprintf(`{"client":"scout","key":"room-%d"}`, i)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, registry+"/v1/connections", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := asker.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var answer contracts.Connection
		err = json.NewDecoder(resp.Body).Decode(&answer)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", resp.Status, err)
		}
		all[i], _, _ = strings.Cut(answer.Primary.URL, "?")
	}
	return all
}

func TestFifthInstanceTakesAFifthOfTheKeys(t *testing.T) {
	t.Parallel()
	keys := sized(500, 10_000)
	c := fleet.RunClusters(t, fleet.Plan{Edges: 4}, "a")[0]
	direct := c.RunDirectRegistry()
	knows := func(edges int) {
		fleet.Eventually(t, "the registry knows the edges", func() bool {
			return fleet.Metric(t, []string{direct.Admin}, "beeline_registry_instances_fit") == float64(edges)
		})
	}
	knows(4)
	before := homes(t, direct.URL, keys)
	if again := homes(t, direct.URL, keys); !slices.Equal(before, again) {
		t.Fatal("keys move though nothing has changed")
	}
	fifth := c.AddEdge()
	knows(5)
	moved, astray := 0, 0
	for i, home := range homes(t, direct.URL, keys) {
		if home != before[i] {
			moved++
			if home != fifth.URL {
				astray++
			}
		}
	}
	share := float64(moved) / float64(keys)
	chance := 4 * math.Sqrt(0.2*0.8/float64(keys)) // four standard deviations
	t.Logf("%d of %d keys have moved: %.3f; %d of them not to the new instance", moved, keys, share, astray)
	if math.Abs(share-0.2) > chance || astray > 0 {
		t.Errorf("%.3f of the keys have moved, and %d not to the new instance", share, astray)
	}
}

// users are how many clients each edge has, as it says itself.
func users(t *testing.T, c *fleet.Cluster) []float64 {
	t.Helper()
	var all []float64
	for _, admin := range c.Admins() {
		all = append(all, metric(t, []string{admin}, "beeline_edge_sessions"))
	}
	return all
}

func TestArrivalsAreSpreadEvenlyAndAFreshInstanceIsFilledWithoutBeingCrushed(t *testing.T) {
	t.Parallel()
	clients, over := sized(200, 5000), sized(time.Second, 10*time.Second)
	c := fleet.RunClusters(t, fleet.Plan{Edges: 4, GatewayFlags: patientGateway()}, "a")[0]
	crowd := roamers(t, c)
	start := time.Now()
	roam(t, crowd, names("c", clients), "", over)
	spread := users(t, c)
	ratio := slices.Max(spread) / slices.Min(spread)
	t.Logf("%d arrivals in %v over 4 instances: %v, largest/smallest %.3f", clients, time.Since(start).Round(time.Millisecond), spread, ratio)
	if bar := sized(3, 1.1); !(ratio <= bar) {
		t.Errorf("largest/smallest is %.3f, over %.1f", ratio, bar)
	}
	if sum := spread[0] + spread[1] + spread[2] + spread[3]; sum != float64(clients) {
		t.Errorf("there are %v users, not %d", sum, clients)
	}

	// One that is empty gets those that draw it as one of two: 2 of 5 on average, not all.
	c.AddEdge()
	fleet.Acquaint(t, c)
	step, most := clients/10, 0.0
	last := 0.0
	for i := range 5 {
		roam(t, crowd, names(fmt.Sprint("d", i, "-"), step), "", over/10)
		now := users(t, c)[4]
		most = max(most, (now-last)/float64(step))
		last = now
	}
	total := 5 * step
	t.Logf("a fresh instance got %v of %d arrivals, and of a tenth of them %.2f at most", last, total, most)
	if share := last / float64(total); share < sized(0.02, 0.3) || share > sized(0.9, 0.5) {
		t.Errorf("a fresh instance got %.2f of the arrivals while it was filled, not two of five", share)
	}
	if bar := sized(1, 0.5); most > bar {
		t.Errorf("at its height it got %.2f of the arrivals, over %.1f", most, bar)
	}
}
