package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// changing is a fleet that a test changes.
type changing struct {
	mu  sync.Mutex
	all []contracts.Instance
	err error
}

func (c *changing) fleet() ([]contracts.Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all, c.err
}

// becomes changes the fleet, and lets a registry notice.
func (c *changing) becomes(err error, all ...contracts.Instance) {
	c.mu.Lock()
	c.all, c.err = all, err
	c.mu.Unlock()
	<-time.After(2 * DefaultConfig().Poll)
}

// reached are the nodes that a thousand clients are sent to.
func reached(t *testing.T, r *Registry) (nodes []contracts.NodeID) {
	t.Helper()
	for i := range 1000 {
		answer, refused := r.connect(time.Now(), contracts.ConnectionRequest{Client: "c", Key: contracts.PlacementKey(fmt.Sprint("k", i))})
		if refused != nil {
			if refused.Code != contracts.CodeUnavailable {
				t.Fatal(refused)
			}
			return nil
		}
		if n := hostOf(answer.Primary); !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	slices.Sort(nodes)
	return nodes
}

func expectNodes(t *testing.T, r *Registry, when, want string) {
	t.Helper()
	if got := fmt.Sprint(reached(t, r)); got != want {
		t.Errorf("%s, clients are sent to %s, not %s", when, got, want)
	}
}

func TestAnUpdateThatLosesMoreThanHalfTheFleetIsNotActedOnForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := readies("a", 4)
		f := &changing{all: all}
		r := begin(t, direct(), Options{Fleets: map[contracts.ClusterName]Fleet{"a": fleetFunc(f.fleet)}})
		expectNodes(t, r, "at first", "[a1 a2 a3 a4]")

		f.becomes(nil, all[:2]...) // half is believed
		expectNodes(t, r, "when half is gone", "[a1 a2]")
		f.becomes(nil, all...)

		f.becomes(nil, all[0])
		expectNodes(t, r, "when three of four are gone", "[a1 a2 a3 a4]")
		reasons, notices := r.Ready()
		if len(reasons) != 0 || len(notices) != 1 || !strings.Contains(notices[0], "[a2 a3 a4]") || r.held("a") != 1 {
			t.Errorf("readyz: %q, %q, held %v", reasons, notices, r.held("a"))
		}
		f.becomes(nil, all[0], all[1], ready("a5", 0)) // they come back one by one, and another comes
		expectNodes(t, r, "when one of them is back", "[a1 a2 a3 a4 a5]")
		f.becomes(nil, all...) // they are back
		if _, notices := r.Ready(); len(notices) != 0 || r.held("a") != 0 {
			t.Errorf("they are back: %q", notices)
		}

		f.becomes(nil, all[0])
		<-time.After(DefaultConfig().Hold)
		expectNodes(t, r, "when they do not come back", "[a1]")
	})
}

func TestNodesThatSaidTheyWouldGoAreNotMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := readies("a", 3)
		f := &changing{all: all}
		r := begin(t, direct(), Options{Fleets: map[contracts.ClusterName]Fleet{"a": fleetFunc(f.fleet)}})
		leaving := slices.Clone(all)
		leaving[1].Load.State, leaving[2].Load.State = contracts.NodeDraining, contracts.NodeDraining
		f.becomes(nil, leaving...)
		expectNodes(t, r, "while two stop", "[a1]")
		f.becomes(nil, all[0])
		if r.held("a") != 0 {
			t.Error("an update without those that said they would go was not acted on")
		}
	})
}

func TestAFleetThatCannotBeReadIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("Redis is away")
		f := &changing{all: readies("a", 2)}
		r := begin(t, direct(), Options{Fleets: map[contracts.ClusterName]Fleet{"a": fleetFunc(f.fleet)}})
		f.becomes(away)
		expectNodes(t, r, "at once", "[a1 a2]")
		if reasons, notices := r.Ready(); len(reasons) != 0 || len(notices) != 1 {
			t.Errorf("at once: %q, %q", reasons, notices)
		}
		<-time.After(time.Hour)
		expectNodes(t, r, "after an hour", "[a1 a2]") // better than nothing
		if reasons, _ := r.Ready(); len(reasons) != 1 {
			t.Errorf("after an hour: %q", reasons)
		}
		f.becomes(nil, readies("a", 2)...)
		if reasons, notices := r.Ready(); len(reasons)+len(notices) != 0 {
			t.Errorf("back: %q, %q", reasons, notices)
		}
	})
}

func TestAClusterThatCannotBeReadGivesWayToOneThatCan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := &changing{all: readies("a", 2)}, &changing{all: readies("b", 2)}
		r := begin(t, direct(), Options{Fleets: map[contracts.ClusterName]Fleet{"a": fleetFunc(a.fleet), "b": fleetFunc(b.fleet)}})
		expectNodes(t, r, "both there", "[a1 a2 b1 b2]")
		b.becomes(errors.New("b is gone"))
		expectNodes(t, r, "at once", "[a1 a2 b1 b2]")
		<-time.After(DefaultConfig().Hold)
		expectNodes(t, r, "soon", "[a1 a2]")
		if reasons, notices := r.Ready(); len(reasons) != 0 || len(notices) != 1 {
			t.Errorf("%q, %q", reasons, notices)
		}
		b.becomes(nil, readies("b", 2)...)
		expectNodes(t, r, "when it is back", "[a1 a2 b1 b2]")
	})
}

func TestWhoIsNotFitIsReplacedByTheAlternate(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*contracts.Load){
		"draining":   func(l *contracts.Load) { l.State = contracts.NodeDraining },
		"not ready":  func(l *contracts.Load) { l.State = contracts.NodeUnready },
		"full":       func(l *contracts.Load) { l.Users = l.Capacity },
		"no address": func(l *contracts.Load) { l.URL = "" },
	} {
		all := readies("a", 4)
		before, _ := begin(t, direct(), Options{Fleets: of(all...)}).connect(time.Now(), contracts.ConnectionRequest{Client: "c", Key: "room"})
		first := slices.IndexFunc(all, func(i contracts.Instance) bool { return i.Node == hostOf(before.Primary) })
		spoil(&all[first].Load)
		after, refused := begin(t, direct(), Options{Fleets: of(all...)}).connect(time.Now(), contracts.ConnectionRequest{Client: "c", Key: "room"})
		if refused != nil || hostOf(after.Primary) != hostOf(before.Alternates[0]) {
			t.Errorf("%s: %s, and the alternate was %s", name, hostOf(after.Primary), hostOf(before.Alternates[0]))
		}
	}
}

func TestAFullNodeGetsNobodyThoughItsReportIsOld(t *testing.T) {
	t.Parallel()
	all := readies("a", 2)
	all[0].Load.Capacity, all[1].Load.Capacity = 10, 10
	r := begin(t, direct(), Options{Fleets: of(all...)})
	for i := range 20 {
		if _, refused := r.connect(time.Now(), contracts.ConnectionRequest{Client: "c"}); refused != nil {
			t.Fatalf("after %d: %v", i, refused)
		}
	}
	if _, refused := r.connect(time.Now(), contracts.ConnectionRequest{Client: "c"}); refused == nil || refused.Code != contracts.CodeUnavailable {
		t.Errorf("all are full: %v", refused)
	}
}

func TestTheSameKeyIsTheSameInstanceWhicheverRegistryIsAsked(t *testing.T) {
	t.Parallel()
	all := readies("a", 5)
	upside := slices.Clone(all)
	slices.Reverse(upside)
	one, other := begin(t, direct(), Options{Fleets: of(all...)}), begin(t, direct(), Options{Fleets: of(upside...)})
	for i := range 1000 {
		req := contracts.ConnectionRequest{Client: contracts.ClientID(fmt.Sprint("c", i)), Key: contracts.PlacementKey(fmt.Sprint("room-", i%100))}
		a, _ := one.connect(time.Now(), req)
		b, _ := other.connect(time.Now(), req)
		if hostOf(a.Primary) != hostOf(b.Primary) || hostOf(a.Alternates[0]) != hostOf(b.Alternates[0]) {
			t.Fatalf("%s: %v and %v", req.Key, a, b)
		}
	}
}

func TestTheKeyOfATicketLeadsToWhoWasChosen(t *testing.T) {
	t.Parallel()
	all := readies("a", 5)
	for i := range all[:4] {
		all[i].Load.Users = 1000 // so that a5 it is, whenever it is looked at
	}
	all[0].Load.State = contracts.NodeUnready // and yet has keys
	r := begin(t, direct(), Options{Fleets: of(all...)})
	hits := 0
	for range 400 {
		answer, refused := r.connect(time.Now(), contracts.ConnectionRequest{Client: "c"})
		if refused != nil {
			t.Fatal(refused)
		}
		_, query, _ := strings.Cut(answer.Primary.URL, "?")
		ticket, err := secretsOf(t).Verify(query, time.Now())
		if err != nil || ticket.Client != "c" || ticket.Cluster != "a" {
			t.Fatalf("%+v, %v", ticket, err)
		}
		again, _ := r.connect(time.Now(), contracts.ConnectionRequest{Client: "c", Key: ticket.Key})
		if hostOf(again.Primary) != hostOf(answer.Primary) {
			t.Fatalf("%s was chosen, and the key leads to %s", hostOf(answer.Primary), hostOf(again.Primary))
		}
		if hostOf(answer.Primary) == "a5" {
			hits++
		}
	}
	if hits < 150 {
		t.Errorf("the empty one was chosen %d times of 400", hits)
	}
}

func TestAZoneIsPreferredAsLongAsItHasRoom(t *testing.T) {
	t.Parallel()
	all := readies("a", 4)
	all[0].Load.Zone, all[1].Load.Zone = "eu", "us"
	all[0].Load.Capacity = 10
	r := begin(t, direct(), Options{Fleets: of(all...)})
	for i := range 20 {
		answer, refused := r.connect(time.Now(), contracts.ConnectionRequest{Client: "c", Zone: "eu"})
		if refused != nil || (hostOf(answer.Primary) == "a1") != (i < 10) {
			t.Fatalf("number %d: %s, %v", i, hostOf(answer.Primary), refused)
		}
	}
}

func TestGatewaysOfTheTicketsClusterComeFirst(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	for _, c := range []string{"a", "b"} {
		for i := range 2 {
			cfg.Gateways = append(cfg.Gateways, Gateway{contracts.ClusterName(c), fmt.Sprintf("wss://%s%d.example/v1/ws", c, i)})
		}
	}
	r := begin(t, cfg, Options{Fleets: map[contracts.ClusterName]Fleet{
		"a": fleetFunc(func() ([]contracts.Instance, error) { return readies("a", 2), nil }),
		"b": fleetFunc(func() ([]contracts.Instance, error) { return readies("b", 2), nil }),
	}})
	primaries := map[string]bool{}
	for range 100 {
		answer, refused := r.connect(time.Now(), contracts.ConnectionRequest{Client: "alice"})
		if refused != nil || len(answer.Alternates) != 3 {
			t.Fatalf("%+v, %v", answer, refused)
		}
		cluster := string(answer.Primary.Cluster)
		seen := map[contracts.TicketNonce]bool{}
		for i, e := range append([]contracts.Endpoint{answer.Primary}, answer.Alternates...) {
			address, query, _ := strings.Cut(e.URL, "?")
			ticket, err := secretsOf(t).Verify(query, time.Now())
			if err != nil || string(ticket.Cluster) != cluster || seen[ticket.Nonce] {
				t.Fatalf("%+v, %v", ticket, err)
			}
			seen[ticket.Nonce] = true
			if home := strings.HasPrefix(address, "wss://"+cluster); home != (i < 2) {
				t.Fatalf("for cluster %s, %s comes at place %d", cluster, address, i)
			}
		}
		address, _, _ := strings.Cut(answer.Primary.URL, "?")
		primaries[address] = true
	}
	if len(primaries) != 4 {
		t.Errorf("only %v come first", primaries)
	}
}
