package registry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// crowd is a fleet whose reports are late, and clients on their way to it.
type crowd struct {
	mu       sync.Mutex           // registries read at any time
	loads    []contracts.Instance // as they are
	reports  [][]report           // of each instance, the oldest first
	onTheWay []arrival
	delay    time.Duration
	rate     []int // arrivals at each instance in this second
	most     []int // in any second
}

type report struct {
	at time.Time
	contracts.Instance
}

type arrival struct {
	at   time.Time
	node int
}

const reportEvery = contracts.LeaseRenewal

// newCrowd begins with so many users at each instance. Each reports every 1.5 s, at a moment of its own.
func newCrowd(delay time.Duration, users ...int) *crowd {
	c := &crowd{delay: delay, rate: make([]int, len(users)), most: make([]int, len(users))}
	for i, n := range users {
		in := ready(contracts.NodeID(fmt.Sprint("a", i+1)), n)
		c.loads = append(c.loads, in)
		c.reports = append(c.reports, []report{{time.Now().Add(-delay - time.Duration(i)*reportEvery/4), in}})
	}
	return c
}

// fleet is what a registry sees now: reports that were written at least the delay ago.
func (c *crowd) fleet() ([]contracts.Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := time.Now().Add(-c.delay)
	var all []contracts.Instance
	for _, reports := range c.reports {
		last := reports[0]
		for _, r := range reports {
			if !r.at.After(seen) {
				last = r
			}
		}
		all = append(all, last.Instance)
	}
	return all, nil
}

// pass lets those arrive who are due, and instances report.
func (c *crowd) pass(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onTheWay = slices.DeleteFunc(c.onTheWay, func(a arrival) bool {
		if a.at.After(now) {
			return false
		}
		c.loads[a.node].Load.Users++
		c.loads[a.node].Load.Arrivals++
		c.rate[a.node]++
		return true
	})
	for i := range c.reports {
		if last := c.reports[i][len(c.reports[i])-1]; now.Sub(last.at) >= reportEvery {
			c.reports[i] = append(c.reports[i], report{now, c.loads[i]})
		}
	}
}

// send sends n clients over a time, evenly, to what chance picks of the registries, and waits until all have arrived.
func (c *crowd) send(t *testing.T, n int, over time.Duration, registries []*Registry) {
	t.Helper()
	for i := range n {
		<-time.After(over / time.Duration(n))
		now := time.Now()
		c.pass(now)
		if i%(n/10) == 0 { // a second
			for j := range c.rate {
				c.most[j], c.rate[j] = max(c.most[j], c.rate[j]), 0
			}
		}
		answer, refused := registries[rand.IntN(len(registries))].connect(now, contracts.ConnectionRequest{Client: contracts.ClientID(fmt.Sprint("c", i))})
		if refused != nil {
			t.Fatal(refused)
		}
		node := slices.IndexFunc(c.loads, func(in contracts.Instance) bool { return in.Node == hostOf(answer.Primary) })
		c.onTheWay = append(c.onTheWay, arrival{now.Add(50*time.Millisecond + rand.N(450*time.Millisecond)), node})
	}
	<-time.After(time.Second)
	c.pass(time.Now())
}

func (c *crowd) users() (users []int) {
	for _, in := range c.loads {
		users = append(users, in.Load.Users)
	}
	return users
}

// evenly is the largest ratio between two instances. One registry comes to 1.002; three that do not know of each other
// to 1.02 to 1.09.
func evenly(registries int) float64 {
	if registries == 1 {
		return 1.1
	}
	return 1.2
}

func TestACrowdIsSpreadEvenlyThoughReportsAreLate(t *testing.T) {
	t.Parallel()
	for _, registries := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(time.Second, 0, 0, 0, 0)
			c.send(t, 5000, 10*time.Second, c.ask(t, registries))
			users := c.users()
			ratio := float64(slices.Max(users)) / float64(slices.Min(users))
			t.Logf("%d registries: %v, largest/smallest %.3f", registries, users, ratio)
			if ratio > evenly(registries) {
				t.Errorf("%d registries: %v", registries, users)
			}
		})
	}
}

func TestAFreshNodeIsFilledWithoutBeingCrushed(t *testing.T) {
	t.Parallel()
	for _, registries := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(time.Second, 1000, 1000, 1000, 0)
			c.send(t, 5000, 10*time.Second, c.ask(t, registries))
			users := c.users()
			ratio := float64(slices.Max(users)) / float64(slices.Min(users))
			t.Logf("%d registries: %v, largest/smallest %.3f, most a second %v", registries, users, ratio, c.most)
			if ratio > evenly(registries) {
				t.Errorf("the fresh node was not filled: %v", users)
			}
			// One of two picked among four is it half the time: 250 of 500 a second, and chance.
			if c.most[3] > 320 {
				t.Errorf("%d of 500 arrivals a second went to the fresh node", c.most[3])
			}
		})
	}
}

// ask starts registries that see the crowd's fleet.
func (c *crowd) ask(t *testing.T, n int) []*Registry {
	t.Helper()
	var all []*Registry
	for range n {
		all = append(all, begin(t, direct(), Options{Fleets: map[contracts.ClusterName]Fleet{"a": fleetFunc(c.fleet)}}))
	}
	synctest.Wait()
	return all
}
