package tests

import (
	"fmt"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// stage is a cluster of three edges, and clients of one key that are all on its first edge, through the gateway.
type stage struct {
	*fleet.Cluster
	key    contracts.PlacementKey
	victim *fleet.Part
	crowd  *fleet.Roamers
}

func newStage(t *testing.T, clients int, plan fleet.Plan) *stage {
	t.Helper()
	plan.Edges = 3
	plan.GatewayFlags = append(probing(), plan.GatewayFlags...)
	s := &stage{Cluster: fleet.RunClusters(t, plan, "a")[0]}
	s.victim = s.Edges[0]
	for i := 0; s.key == ""; i++ {
		key := contracts.PlacementKey(fmt.Sprint("room-", i))
		c := connectTo(t, s.ticket(t, key), "scout")
		if c.Ready.Node == contracts.NodeID(s.victim.Name) {
			s.key = key
		}
		c.Leave()
	}
	s.crowd = roamers(t, s.Cluster)
	for _, name := range names("c", clients) {
		s.crowd.Add(t.Context(), name, s.key)
	}
	patiently(t, "all are connected", func() bool { return connected(s.crowd.All()) == clients })
	if nodes, _ := whereabouts(s.crowd.All()); nodes[contracts.NodeID(s.victim.Name)] != clients {
		t.Fatalf("the clients of one key are on %v", nodes)
	}
	return s
}

// ticket is an address at the gateway, for a client that is called scout.
func (s *stage) ticket(t *testing.T, key contracts.PlacementKey) string {
	t.Helper()
	answer, err := fleet.Ask(t.Context(), s.Registry.URL, "scout", key)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Primary.URL
}

// next connects one more client of the key, and returns where it is and how long that took. One that is let in by an instance
// that is just about to go tries again, with a new ticket.
func (s *stage) next(t *testing.T, url string) (contracts.NodeID, time.Duration) {
	t.Helper()
	start := time.Now()
	for time.Since(start) < fleet.Patience {
		c, _, err := fleet.ConnectURL(t, url, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Raw(string(contracts.AppendAuth(nil, contracts.Auth{Client: "scout"})))
		if e, err := c.TryNext(fleet.Patience); err == nil && e.Ready != nil {
			took := time.Since(start)
			c.Leave()
			return e.Ready.Node, took
		}
		c.Close()
		url = s.ticket(t, s.key)
	}
	t.Fatal("no instance lets it in")
	return "", 0
}

// diverted makes sure that one client was sent to the alternate, soon enough.
func (s *stage) diverted(t *testing.T, n contracts.NodeID, took time.Duration) {
	t.Helper()
	t.Logf("the next connect was on %s after %v", n, took.Round(100*time.Microsecond))
	if n == contracts.NodeID(s.victim.Name) {
		t.Errorf("it is on %s", n)
	}
	if bar := sized(5*time.Second, 300*time.Millisecond); took > bar {
		t.Errorf("it took %v, over %v", took, bar)
	}
}

// elsewhere is any node but the victim.
func (s *stage) elsewhere(n contracts.NodeID, _ contracts.ClusterName) bool {
	return n != contracts.NodeID(s.victim.Name)
}

// restored makes sure that all who were on the victim are back elsewhere, soon enough, and on one instance.
func (s *stage) restored(t *testing.T, since time.Time, bar time.Duration) {
	t.Helper()
	took := back(t, s.crowd.All(), since, s.elsewhere)
	t.Logf("%d clients are back: %s", len(took), spell(took))
	if *prove && p99(took) > bar {
		t.Errorf("p99 is %v, over %v", p99(took), bar)
	}
	if nodes, _ := whereabouts(s.crowd.All()); len(nodes) != 1 {
		t.Errorf("the clients of one key are on %v", nodes)
	}
}

// undisturbed makes sure that those who are on the victim have not lost their connection.
func (s *stage) undisturbed(t *testing.T, since time.Time) {
	t.Helper()
	for _, r := range s.crowd.All() {
		if n, _, at := r.State(); n != contracts.NodeID(s.victim.Name) || at.After(since) {
			t.Fatalf("%s is on %q: %v", r.Name, n, r.Lost())
		}
	}
}

// cut makes sure that the gateway has cut off so many clients; and with them, perhaps, a scout whose end the instance slept through.
func (s *stage) cut(t *testing.T, want int) {
	t.Helper()
	n := int(fleet.Metric(t, []string{s.Gateway.Admin}, "beeline_gateway_clients_cut_total"))
	if n < want || want == 0 && n > 0 {
		t.Errorf("the gateway has cut off %d clients, not %d", n, want)
	}
}

// probing lets instances be slow, as they are when other tests take the processor, and asks them as it ships when it is proven.
func probing() []string {
	return []string{"--probe", sized(time.Second, gatewayserver.DefaultConfig().Gateway.Probe).String()}
}

// audience is how many clients lose their instance.
func audience() int { return sized(20, 500) }

const backAgain = 2 * time.Second // at most, for 99 of 100

func TestKilledInstanceIsReplacedByItsAlternate(t *testing.T) {
	t.Parallel()
	s := newStage(t, audience(), fleet.Plan{})
	url := s.ticket(t, s.key)
	start := time.Now()
	s.victim.Kill()
	n, took := s.next(t, url)
	s.diverted(t, n, took)
	s.restored(t, start, backAgain)
}

func TestStoppedInstanceIsReplacedByItsAlternate(t *testing.T) {
	t.Parallel()
	s := newStage(t, audience(), fleet.Plan{})
	url := s.ticket(t, s.key)
	start := time.Now()
	s.victim.Terminate()
	n, took := s.next(t, url)
	if n == contracts.NodeID(s.victim.Name) { // it was still taking clients: this one, too, is told to go
		n, took = s.next(t, s.ticket(t, s.key))
	}
	s.diverted(t, n, took)
	s.restored(t, start, backAgain)
	if code := s.victim.Wait(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// A process that hangs keeps its connections open, so only silence shows it: to the gateway when it connects a client, after its
// answer-time, and when it asks, which it does every 200 ms; it then cuts off those who are there.
func TestHungInstanceIsReplacedByItsAlternate(t *testing.T) {
	t.Parallel()
	s := newStage(t, audience(), fleet.Plan{})
	url := s.ticket(t, s.key)
	start := time.Now()
	s.victim.Pause()
	n, took := s.next(t, url)
	s.diverted(t, n, took)
	s.restored(t, start, backAgain)
	s.cut(t, audience())
	s.victim.Resume()
	if !*prove { // the rest takes as long as an instance that failed is spared
		return
	}
	patiently(t, "it serves its key again", func() bool {
		n, _ := s.next(t, s.ticket(t, s.key))
		return n == contracts.NodeID(s.victim.Name)
	})
}

// Its twin: without being asked, an instance that hangs keeps its clients until they have heard nothing for two heartbeats, here of 1 s.
func TestClientsOfAHungInstanceThatIsNotAskedFindOutByThemselves(t *testing.T) {
	t.Parallel()
	s := newStage(t, audience(), fleet.Plan{EdgeFlags: []string{"--heartbeat", "1s"}, GatewayFlags: []string{"--probe", "0s"}})
	start := time.Now()
	s.victim.Pause()
	const silence = 2 * time.Second
	s.restored(t, start, silence+backAgain)
	s.cut(t, 0)
	s.victim.Resume()
}

// That an instance is not ready is known once the gateway has asked it, which it does every 200 ms; until then it still takes
// clients, and serves them as far as it can.
func TestInstanceThatIsNotReadyIsReplacedByItsAlternate(t *testing.T) {
	t.Parallel()
	s := newStage(t, audience(), fleet.Plan{Link: true})
	start := time.Now()
	s.Link.Cut()
	var (
		n    contracts.NodeID
		took time.Duration
	)
	fleet.Eventually(t, "it gets no more clients", func() bool {
		n, took = s.next(t, s.ticket(t, s.key))
		return n != contracts.NodeID(s.victim.Name)
	})
	known := time.Since(start)
	t.Logf("it gets no more clients %v after it lost NATS", known.Round(time.Millisecond))
	if bar := 300 * time.Millisecond; *prove && known > bar {
		t.Errorf("it took %v until it was passed over, over %v", known, bar)
	}
	s.diverted(t, n, took)
	s.undisturbed(t, start)
	s.cut(t, 0)
	if s.Link.Broken() == 0 {
		t.Error("its link to NATS was not cut")
	}
	s.Link.Restore()
	fleet.Eventually(t, "it serves its key again", func() bool {
		n, _ := s.next(t, s.ticket(t, s.key))
		return n == contracts.NodeID(s.victim.Name)
	})
}

func TestFullInstanceIsReplacedByItsAlternate(t *testing.T) {
	t.Parallel()
	s := newStage(t, audience(), fleet.Plan{EdgeFlags: []string{"--max-sessions", fmt.Sprint(audience())}})
	start := time.Now()
	n, took := s.next(t, s.ticket(t, s.key))
	s.diverted(t, n, took)
	s.undisturbed(t, start)
}
