package tests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// The promises that are about many clients. They run with a few at each change, and with as many as they name under
// `./task prove`, against edges that are processes of their own.

// metric is [fleet.Metric].
func metric(t *testing.T, admins []string, name string) float64 {
	t.Helper()
	return fleet.Metric(t, admins, name)
}

var processed = regexp.MustCompile(`total_commands_processed:(\d+)`)

// commands is how many commands Redis has carried out, those within scripts left out.
func commands(t *testing.T, r *redis.Client) int {
	t.Helper()
	info, err := r.Info(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(processed.FindStringSubmatch(info)[1])
	return n
}

func connectTo(t *testing.T, url string, name contracts.ClientID) *fleet.Client {
	t.Helper()
	c, _, err := fleet.ConnectURL(t, url, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Login(name)
	return c
}

func names(prefix string, n int) []contracts.ClientID {
	all := make([]contracts.ClientID, n)
	for i := range all {
		all[i] = contracts.ClientID(fmt.Sprint(prefix, i))
	}
	return all
}

func TestSubscriptionsDoNotGrowWithClients(t *testing.T) {
	t.Parallel()
	few, many := 100, sized(1000, 50000)
	const perProcess = 10000
	edges := fleet.RunEdges(t, sized(2, 4), "--max-anonymous", "1000")
	fleet.RunCrowd(t, edges.URLs, "c", 0, few)
	before := edges.NATS.Subscriptions()
	for from := few; from < many; from += perProcess {
		fleet.RunCrowd(t, edges.URLs, "c", from, min(from+perProcess, many))
	}
	if got := metric(t, edges.Admins, "beeline_edge_sessions"); got != float64(many) {
		t.Errorf("%v sessions, not %d: the test shows nothing", got, many)
	}
	after := edges.NATS.Subscriptions()
	t.Logf("%d subscriptions with %d clients, %d with %d", before, few, after, many)
	if after != before || before == 0 {
		t.Errorf("the subscriptions grew from %d to %d", before, after)
	}
	// They are there: the last is found from another node.
	alice := connectTo(t, edges.URLs[0], "alice")
	for _, i := range []int{1, many/2 + 1, many - 1} {
		if got := alice.Send(contracts.ClientID(fmt.Sprint("c", i)), `1`); got != "delivered" {
			t.Errorf("to client %d: %s", i, got)
		}
	}
}

// sweepAll sends to clients in random order until done, and fails at the first who is said to be offline. It returns how
// many messages had which outcome, and how long the slowest answer took.
func sweepAll(t *testing.T, from *fleet.Client, all []contracts.ClientID, done func() bool) (outcomes map[string]int, slowest time.Duration) {
	t.Helper()
	outcomes = map[string]int{}
	end := time.Now().Add(4 * fleet.Patience)
	for i := 0; ; i++ {
		if i%16 == 0 && done() {
			return outcomes, slowest
		}
		if time.Now().After(end) {
			t.Fatalf("it takes too long; so far %v", outcomes)
		}
		who := all[rand.IntN(len(all))]
		start := time.Now()
		got := from.Send(who, `1`)
		slowest = max(slowest, time.Since(start))
		outcomes[got]++
		if got == "offline" {
			t.Fatalf("%s is connected, and was said to be offline; before, %v", who, outcomes)
		}
	}
}

func TestThousandsAreThereAgainSoonAfterRedisLostThem(t *testing.T) {
	t.Parallel()
	clients := sized(500, 10000)
	bar := sized(10*time.Second, 2*time.Second) // at full size nothing else runs
	edges := fleet.RunEdges(t, 3, "--max-anonymous", "1000")
	all := names("c", clients)
	fleet.RunCrowd(t, edges.URLs, "c", 0, clients)
	alice := connectTo(t, edges.URLs[0], "alice")
	client := edges.Redis.Client(t)
	complete := func() bool { // all records, a lease for each edge, the set of nodes, the origin
		n, err := client.DBSize(t.Context()).Result()
		return err == nil && int(n) >= clients+1+3+2 && recorded(t, client) == clients+1
	}
	if !complete() {
		t.Fatalf("%d of %d are recorded at first", recorded(t, client), clients)
	}
	for _, fault := range []struct {
		name string
		do   func()
	}{
		{"FLUSHALL", func() {
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}},
		{"kill -9 and an empty restart", func() { edges.Redis.Restart(t) }},
	} {
		before := edges.Link.Passed()
		fault.do()
		if n := recorded(t, client); n >= clients {
			t.Fatalf("%s: nothing was lost", fault.name)
		}
		start := time.Now()
		outcomes, slowest := sweepAll(t, alice, all, complete)
		took := time.Since(start)
		t.Logf("%s: %d records are back after %v; %d bytes over the link; meanwhile %v, slowest %v",
			fault.name, clients, took.Round(time.Millisecond), edges.Link.Passed()-before, outcomes, slowest.Round(time.Millisecond))
		if took > bar+contracts.LeaseRenewal {
			t.Errorf("%s: it took %v until all were recorded", fault.name, took)
		}
		start = time.Now()
		sweepAll(t, alice, all, func() bool { return time.Since(start) > time.Second })
	}
	slowRedis(t, edges, alice, all)
}

// recorded is how many clients have a record.
func recorded(t *testing.T, client *redis.Client) int {
	t.Helper()
	n, cursor := 0, uint64(0)
	for {
		keys, next, err := client.Scan(t.Context(), cursor, contracts.KeyPrefix("a")+"c:*", 5000).Result()
		if err != nil {
			t.Fatal(err)
		}
		n += len(keys)
		if cursor = next; cursor == 0 {
			return n
		}
	}
}

// slowRedis makes Redis hang and then slow, while messages go to those who are known and to those who are not.
func slowRedis(t *testing.T, edges *fleet.Edges, alice *fleet.Client, all []contracts.ClientID) {
	t.Helper()
	known := all[:20]
	fleet.Eventually(t, "their routes are known", func() bool {
		before := metric(t, edges.Admins[:1], "beeline_edge_route_hits_total")
		for _, c := range known {
			if got := alice.Send(c, `0`); got != "delivered" {
				t.Fatal(got)
			}
		}
		return metric(t, edges.Admins[:1], "beeline_edge_route_hits_total")-before >= float64(len(known))
	})
	for _, fault := range []struct {
		name     string
		do, undo func()
	}{
		{"SIGSTOP", func() { edges.Redis.Pause(t) }, func() { edges.Redis.Resume(t) }},
		{"+500 ms", func() { edges.Link.Delay(500 * time.Millisecond) }, func() { edges.Link.Delay(0) }},
	} {
		fault.do()
		start := time.Now()
		outcomes, slowest := sweepAll(t, alice, known, func() bool { return time.Since(start) > 2*time.Second })
		t.Logf("%s, known routes: %v, slowest %v", fault.name, outcomes, slowest.Round(100*time.Microsecond))
		if len(outcomes) != 1 || outcomes["delivered"] == 0 || slowest > time.Second {
			t.Errorf("%s: known routes were harmed: %v, slowest %v", fault.name, outcomes, slowest)
		}
		goroutines := metric(t, edges.Admins, "go_goroutines")
		start = time.Now()
		outcomes, slowest = sweepAll(t, alice, all, func() bool { return time.Since(start) > 3*time.Second })
		more := metric(t, edges.Admins, "go_goroutines") - goroutines
		t.Logf("%s, all: %v, slowest %v; %v goroutines more", fault.name, outcomes, slowest.Round(time.Millisecond), more)
		if more > 500 {
			t.Errorf("%s: %v goroutines more", fault.name, more)
		}
		fault.undo()
	}
}

// friendList is what a client has been told of its friends.
type friendList struct {
	mu     sync.Mutex
	online map[contracts.ClientID]bool
	told   int // presence events
	flaps  int // of these, that somebody went offline
}

func (l *friendList) hear(e contracts.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case e.OK != nil:
		for _, c := range e.OK.Online {
			l.online[c] = true
		}
	case e.Presence != nil:
		l.told++
		if !e.Presence.Online {
			l.flaps++
		}
		l.online[e.Presence.Client] = e.Presence.Online
	}
}

// count is how many friends are online as far as the client knows.
func (l *friendList) count() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, online := range l.online {
		if online {
			n++
		}
	}
	return n
}

// gathering is clients that watch each other, and come back when their node dies.
type gathering struct {
	crowd   fleet.Crowd
	urls    []string // of the nodes that live
	friends [][]contracts.ClientID
	lists   []*friendList
	place   map[contracts.ClientID]int
	lost    chan int // members whose connection broke
}

func (g *gathering) hear(m *fleet.Member, e contracts.Event, err error) {
	i := g.place[m.Name]
	if err != nil {
		select {
		case g.lost <- i:
		default:
		}
		return
	}
	g.lists[i].hear(e)
}

// watch has a member watch its friends, in requests of as many as one may name.
func (g *gathering) watch(m *fleet.Member) error {
	var errs []error
	friends := g.friends[g.place[m.Name]]
	for id := uint64(1); len(friends) > 0; id++ {
		n := min(len(friends), contracts.MaxWatch)
		errs = append(errs, m.Post(contracts.AppendWatch(nil, id, contracts.OpWatch, friends[:n])))
		friends = friends[n:]
	}
	return errors.Join(errs...)
}

// right tells whether every list shows every friend online.
func (g *gathering) right() bool {
	for i, l := range g.lists {
		if l.count() != len(g.friends[i]) {
			return false
		}
	}
	return true
}

func TestFriendListsAreRightAfterANodesDeath(t *testing.T) {
	t.Parallel()
	clients, friends := sized(300, 5000), sized(20, 200)
	edges := fleet.RunEdges(t, 3, "--allow-watch", "*", "--max-anonymous", "1000")
	g := &gathering{urls: edges.URLs, place: map[contracts.ClientID]int{}, lost: make(chan int, clients)}
	all := names("c", clients)
	for i, c := range all {
		g.place[c] = i
		list := make([]contracts.ClientID, 0, friends)
		for _, o := range rand.Perm(clients) {
			if o != i && len(list) < friends {
				list = append(list, all[o])
			}
		}
		g.friends = append(g.friends, list)
		g.lists = append(g.lists, &friendList{online: map[contracts.ClientID]bool{}})
	}
	g.crowd.Hear = g.hear
	t.Cleanup(g.crowd.Close)
	if err := g.crowd.Join(t.Context(), all, func(i int) string { return edges.URLs[i%3] }); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, m := range g.crowd.Members() {
		if err := g.watch(m); err != nil {
			t.Fatal(err)
		}
	}
	patiently(t, "every list is right at first", g.right)
	t.Logf("%d clients with %d friends each: every list is right %v after the first watch", clients, friends, time.Since(began).Round(time.Millisecond))

	client, living := edges.Redis.Client(t), edges.Admins[:2]
	sent, asked := metric(t, living, "beeline_bus_sent_total"), commands(t, client)
	edges.Procs[2].Kill()
	killed := time.Now()
	back := 0
	for ; back < clients/3; back++ { // as they notice, one after the other from here
		i := <-g.lost
		l := g.lists[i]
		l.mu.Lock()
		clear(l.online)
		l.mu.Unlock()
		m, err := g.crowd.Add(t.Context(), all[i], edges.URLs[i%2])
		if err == nil {
			err = g.watch(m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	returned := time.Since(killed)
	patiently(t, "every list is right again", g.right)
	took := time.Since(killed)
	// And stays so, past the death of the lease and the linger.
	<-time.After(time.Until(killed.Add(10 * time.Second)))
	flaps, told := 0, 0
	for _, l := range g.lists {
		flaps += l.flaps
		told += l.told
	}
	t.Logf("%d clients came back within %v; every list is right after %v; in 10 s %v node messages, %d commands of Redis; %d events told, %d of them that somebody went",
		back, returned.Round(time.Millisecond), took.Round(time.Millisecond), metric(t, living, "beeline_bus_sent_total")-sent, commands(t, client)-asked, told, flaps)
	if !g.right() {
		t.Error("a list is wrong after 10 s")
	}
	if flaps > 0 {
		t.Errorf("%d times somebody was said to have gone who was back at once", flaps)
	}
}

// patiently is [fleet.Eventually] for what takes thousands a while.
func patiently(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*fleet.Patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("never: " + what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
