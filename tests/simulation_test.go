package tests

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
)

// The formulae of services/presence/DESIGN.md, under the names that they have there. Times are in seconds.
// What contracts does not hold are constants of services/edge: routeTime, friendsRefresh and the default Linger.
const (
	watchTime   = float64(contracts.WatchTTL) / 1e9 // W
	routeTime   = watchTime * 9 / 10                // T
	refreshTime = watchTime / 2                     // f
	lingerTime  = 3.0
)

// spread is how many of n nodes have at least one of k clients that are spread at random.
func spread(n, k float64) float64 { return n * (1 - math.Pow(1-1/n, k)) }

// over is the sum over k of the probability that k of p clients are on one given node of n, times of(k); k = 0 is left out.
func over(n, p int, of func(k float64) float64) float64 {
	sum, q := 0.0, 1/float64(n)
	b := math.Pow(1-q, float64(p))
	for k := 1; k <= p; k++ {
		b *= float64(p-k+1) / float64(k) * q / (1 - q)
		sum += b * of(float64(k))
	}
	return sum
}

// valid is how long a cached route lasts of an address that changes q times a second.
func valid(q float64) float64 {
	if q == 0 {
		return routeTime
	}
	return (1 - math.Exp(-q*routeTime)) / q
}

// routeLookups is how many lookups a second the routes to one address cost, to which p senders write m times a second
// each, and which changes q times a second.
func routeLookups(n, p int, m, q float64) float64 {
	return float64(n) * over(n, p, func(k float64) float64 { return 1 / (1/(k*m) + valid(q)) })
}

// routeWatch is the probability that a node watches an address because of its route.
func routeWatch(n, p int, m float64) float64 {
	return over(n, p, func(k float64) float64 {
		mu := k * m
		return (routeTime + (1-math.Exp(-mu*(watchTime-routeTime)))/mu) / (routeTime + 1/mu)
	})
}

// friendWatch is the probability that a node other than the client's own watches it for a session that is its friend.
// A client has f friends, local of them on its own node.
func friendWatch(n, f, local int) float64 { return spread(float64(n), float64(f-local)) / float64(n) }

// friendNodes is how many nodes watch a client for its friends.
func friendNodes(n, f, local int) float64 {
	own := friendWatch(n, f, local)
	if local > 0 {
		own = 1
	}
	return own + float64(n-1)*friendWatch(n, f, local)
}

// friendLookups is how many lookups a second it costs to watch one client, which reconnects rho times a second and stays
// away for gap.
func friendLookups(n, f, local int, rho, gap float64) float64 {
	return friendNodes(n, f, local) * (1/refreshTime + rho*perReconnect(gap))
}

// perReconnect is how many lookups a reconnect costs each node that watches for friends, less the half of a refreshTime that
// it saves.
func perReconnect(gap float64) float64 {
	if gap < lingerTime {
		return 1.5
	}
	return 2.5
}

// watchLookups is how many of a session's f friends have to be looked up when it begins to watch them: those that nobody
// on its node watches.
func watchLookups(n, f, local int) float64 {
	away := float64(f-local) * math.Pow(1-1/float64(n), float64(f-local-1))
	switch local {
	case 0:
		return away
	case 1:
		return away*float64(n-1)/float64(n) + math.Pow(1-1/float64(n), float64(f-1))
	}
	return away * float64(n-1) / float64(n)
}

// changeMessages is how many node messages tell of one change of a client: a connect or a disconnect.
func changeMessages(n, p int, m float64, f, local int) float64 {
	return float64(n-1) * (1 - (1-routeWatch(n, p, m))*(1-friendWatch(n, f, local)))
}

// groupMessages is how many node messages it costs to publish to a group of g members, as one of them.
func groupMessages(n, g int) float64 { return spread(float64(n), float64(g)) - 1 }

// groupWrites is how many entries of a group are written or removed when one of its g members reconnects.
func groupWrites(n, g int) float64 { return 2 * math.Pow(1-1/float64(n), float64(g-1)) }

// herdLookups is how many lookups follow the death of a node that had c clients with f friends each: for the watch lists
// of those that come back, and of all others for them.
func herdLookups(n, f int, c float64) float64 {
	return c * (watchLookups(n-1, f, 0) + 2*spread(float64(n-1), float64(f)))
}

// herdMessages is how many node messages tell that they are back. The dead node is one of those told, until its watches end.
func herdMessages(n, p int, m float64, f int, c float64) float64 {
	return c * changeMessages(n, p, m, f, 0)
}

// leaseCommands is how many commands a second n nodes send to keep their leases, and to read those of all.
func leaseCommands(n float64) float64 {
	return 2*n/contracts.LeaseRenewal.Seconds() + n*(n+1)/(contracts.LeaseTTL/5).Seconds()
}

// addressBytes is what a client with one session costs that w nodes watch, 128 at most.
func addressBytes(w float64) float64 { return 204 + 162 + 20.5*w }

// masters is how many masters of half a core each carry so many writes, lookups and commands for leases a second.
func masters(writes, lookups, leases float64) float64 {
	return math.Ceil((writes*13e-6 + lookups*12e-6 + leases*0.7e-6) / 0.5)
}

// simWorld is what a run is about.
type simWorld struct {
	clients, nodes int
	partners       int     // that write to each client
	rate           float64 // messages a second from each of them
	friends, local int     // of each client; local of them on its own node, where it always returns to
	reconnect, gap float64 // every so many seconds a client goes, for so long
	groups, size   int     // groups and their members
	publish        float64 // per group and second
	star           float64 // how often the celebrity, which everybody watches, reconnects
}

// A run counts these.
type simCounts struct {
	routes, refreshed, watched, changes, messages                     float64
	groupLookups, groupMessages, groupWrites, starLooked, starChanges float64
	connects, forced                                                  float64
}

const (
	simStep    = 0.05 // seconds
	simWarm    = 60.0
	simMeasure = 240.0
	simHorizon = int((simWarm + simMeasure + 60) / simStep)
)

// pair is one node's view of one address.
type simPair struct {
	route, watch int32 // until when
	due, absent  int32 // of a watched client: when it is looked up, since when it is gone; 0: not
	sessions     int32 // here that watch it
	seen         int32 // where it was found
	online       bool
}

// simulation carries the rules of services/edge and of the scripts out on a clock of its own. Addresses are clients, then
// the celebrity, then groups. Commands and messages take no time.
type simulation struct {
	simWorld
	rng    *rand.Rand
	now    int32
	events [][]func()
	pairs  []simPair // by node and address
	at     []int     // where a client is; -1: nowhere
	ghost  []bool    // its record is still there, on a node that is dead
	home   []int
	list   [][]int // whom a client watches
	member [][]int // its groups
	in     [][]int // members by group
	here   [][]int // members by group and node
	dead   int
	n      simCounts
}

func (s *simulation) addresses() int { return s.clients + 1 + s.groups }

func (s *simulation) pair(n, a int) *simPair { return &s.pairs[n*s.addresses()+a] }

func (s *simulation) after(seconds float64, f func()) {
	if t := int(s.now) + max(int(math.Round(seconds/simStep)), 1); t < simHorizon {
		s.events[t] = append(s.events[t], f)
	}
}

func (s *simulation) run(seconds float64) {
	for end := s.now + int32(seconds/simStep); s.now < end; {
		s.now++
		for i := 0; i < len(s.events[s.now]); i++ {
			s.events[s.now][i]()
		}
		s.events[s.now] = nil
	}
}

func simTicks(seconds float64) int32 { return int32(math.Round(seconds / simStep)) }

// lookup is the one of Redis: the node watches from now on.
func (s *simulation) lookup(n, a int) *simPair {
	p := s.pair(n, a)
	p.watch = s.now + simTicks(watchTime)
	return p
}

// routed is a message that needs a route.
func (s *simulation) routed(n, a int, lookups *float64) {
	if s.pair(n, a).route <= s.now {
		*lookups++
		s.lookup(n, a).route = s.now + simTicks(routeTime)
	}
}

// changed tells all nodes that watch an address, but for the one that changed it, which knows.
func (s *simulation) changed(a, by int, messages *float64) {
	for n := range s.nodes {
		p := s.pair(n, a)
		if n != by && p.watch > s.now {
			*messages++
			p.route = 0
		} else if n != by {
			continue
		}
		if p.sessions > 0 && n != s.dead {
			s.n.forced++
			s.look(n, a)
		}
	}
}

// look looks a friend up, as friends.found takes it in.
func (s *simulation) look(n, a int) {
	if a == s.clients {
		s.n.starLooked++
	} else {
		s.n.refreshed++
	}
	p := s.lookup(n, a)
	due := s.now + simTicks(refreshTime)
	p.seen = int32(s.at[a])
	if s.ghost[a] {
		p.seen = int32(s.dead)
	}
	switch online := s.at[a] >= 0 || s.ghost[a]; {
	case online == p.online:
		p.absent = 0
	case online:
		p.online, p.absent = true, 0
	case p.absent == 0:
		p.absent, due = s.now, s.now+simTicks(lingerTime)
	case s.now-p.absent < simTicks(lingerTime):
		due = p.absent + simTicks(lingerTime)
	default:
		p.online, p.absent = false, 0
	}
	s.dueAt(n, a, due)
}

func (s *simulation) dueAt(n, a int, due int32) {
	s.pair(n, a).due = due
	s.after(float64(due-s.now)*simStep, func() {
		if p := s.pair(n, a); p.due == due && p.sessions > 0 && n != s.dead {
			s.look(n, a)
		}
	})
}

func (s *simulation) connect(c int) {
	n := s.home[c]
	if s.local == 0 {
		for n = s.rng.IntN(s.nodes); n == s.dead; n = s.rng.IntN(s.nodes) {
		}
	}
	s.at[c] = n
	if c == s.clients {
		s.changed(c, n, &s.n.starChanges)
		return
	}
	s.n.connects++
	s.changed(c, n, &s.n.changes)
	for _, x := range s.list[c] {
		p := s.pair(n, x)
		if p.sessions == 0 {
			if x < s.clients {
				s.n.watched++
			}
			s.lookup(n, x)
			p.online, p.absent, p.seen = s.at[x] >= 0 || s.ghost[x], 0, int32(s.at[x])
			if s.ghost[x] {
				p.seen = int32(s.dead)
			}
			s.dueAt(n, x, s.now+simTicks(refreshTime))
		}
		p.sessions++
	}
	for _, g := range s.member[c] {
		s.here[g][n]++
		if s.here[g][n] == 1 {
			s.groupChanged(g, n)
		}
	}
}

func (s *simulation) disconnect(c int) {
	n := s.at[c]
	s.at[c] = -1
	if c == s.clients {
		s.changed(c, n, &s.n.starChanges)
		return
	}
	for _, x := range s.list[c] {
		s.pair(n, x).sessions--
	}
	for _, g := range s.member[c] {
		s.here[g][n]--
		if s.here[g][n] == 0 {
			s.groupChanged(g, n)
		}
	}
	s.changed(c, n, &s.n.changes)
}

func (s *simulation) groupChanged(g, by int) {
	s.n.groupWrites++
	for n := range s.nodes {
		if p := s.pair(n, s.clients+1+g); n != by && p.watch > s.now {
			p.route = 0
		}
	}
}

// kill ends a node without a word. Its clients come back elsewhere within 4 s; its lease lapses after 5.
func (s *simulation) kill(node int) {
	s.dead = node
	for c := range s.clients {
		if s.at[c] == node {
			s.at[c], s.ghost[c] = -1, true
			s.after(s.rng.Float64()*4, func() { s.connect(c) })
		}
	}
	s.after(contracts.LeaseTTL.Seconds(), func() {
		for c := range s.clients {
			s.ghost[c] = false
		}
		for n := range s.nodes {
			for c := range s.clients {
				if p := s.pair(n, c); n != node && p.sessions > 0 && p.seen == int32(node) {
					s.n.forced++
					s.look(n, c)
				}
			}
		}
	})
}

func simulate(w simWorld, seed uint64) *simulation {
	s := &simulation{simWorld: w, rng: rand.New(rand.NewPCG(seed, 1)), events: make([][]func(), simHorizon), dead: -1}
	s.pairs = make([]simPair, w.nodes*s.addresses())
	s.at, s.home, s.ghost = make([]int, w.clients+1), make([]int, w.clients+1), make([]bool, w.clients+1)
	s.list, s.member = make([][]int, w.clients+1), make([][]int, w.clients)
	s.in, s.here = make([][]int, w.groups), make([][]int, w.groups)
	atHome := make([][]int, w.nodes)
	for c := range s.at {
		s.at[c], s.home[c] = -1, c%w.nodes
		if c < w.clients {
			atHome[c%w.nodes] = append(atHome[c%w.nodes], c)
			s.list[c] = append(s.list[c], w.clients)
		}
	}
	// Permutations, so that everybody has as many friends and partners.
	for i := range w.friends {
		if i >= w.local {
			for c, x := range s.rng.Perm(w.clients) {
				s.list[c] = append(s.list[c], x)
			}
			continue
		}
		for _, room := range atHome {
			for j, x := range s.rng.Perm(len(room)) {
				s.list[room[j]] = append(s.list[room[j]], room[x])
			}
		}
	}
	for range w.partners {
		for from, to := range s.rng.Perm(w.clients) {
			var send func()
			send = func() {
				if n := s.at[from]; n >= 0 {
					s.routed(n, to, &s.n.routes)
					if s.at[to] >= 0 && s.at[to] != n {
						s.n.messages++
					}
				}
				s.after(s.rng.ExpFloat64()/w.rate, send)
			}
			s.after(s.rng.ExpFloat64()/w.rate, send)
		}
	}
	for g := range w.groups {
		s.here[g] = make([]int, w.nodes)
		s.in[g] = s.rng.Perm(w.clients)[:w.size]
		for _, c := range s.in[g] {
			s.member[c] = append(s.member[c], g)
		}
		var publish func()
		publish = func() {
			if n := s.at[s.in[g][s.rng.IntN(w.size)]]; n >= 0 {
				s.routed(n, w.clients+1+g, &s.n.groupLookups)
				for o, members := range s.here[g] {
					if o != n && members > 0 {
						s.n.groupMessages++
					}
				}
			}
			s.after(s.rng.ExpFloat64()/w.publish, publish)
		}
		s.after(s.rng.ExpFloat64()/w.publish, publish)
	}
	for i, c := range s.rng.Perm(w.clients + 1) {
		every := w.reconnect
		if c == w.clients {
			every = w.star
		}
		s.after(s.rng.Float64()*refreshTime, func() { s.connect(c) })
		var leave func()
		leave = func() {
			s.disconnect(c)
			s.after(w.gap, func() { s.connect(c) })
			s.after(every, leave)
		}
		s.after(refreshTime+every*float64(i)/float64(w.clients+1), leave)
	}
	s.run(simWarm)
	s.n = simCounts{}
	return s
}

func TestFormulaeOfTheDirectoryHold(t *testing.T) {
	t.Parallel()
	base := simWorld{
		clients: 2000, partners: 4, rate: 1.0 / 20, friends: 8, reconnect: 900, gap: 2,
		groups: 150, size: 12, publish: 1.0 / 10, star: 41,
	}
	for _, c := range []struct{ nodes, local int }{{5, 0}, {10, 0}, {20, 0}, {20, 6}} {
		t.Run(fmt.Sprintf("%d nodes %d local", c.nodes, c.local), func(t *testing.T) {
			t.Parallel()
			w := base
			w.nodes, w.local = c.nodes, c.local
			if c.local > 0 {
				w.gap = 5 // longer than the linger
			}
			s := simulate(w, 7)
			s.run(simMeasure)
			got := s.n
			n, clients, groups := float64(w.nodes), float64(w.clients), float64(w.groups)
			rho, star := 1/w.reconnect, 1/w.star
			r := clients * rho
			members := groups * float64(w.size)
			within := func(what string, got, want float64) {
				t.Helper()
				off := got/simMeasure/want - 1
				t.Logf("%-20s simulated %9.2f/s, formula %9.2f/s: %+5.1f %%", what, got/simMeasure, want, 100*off)
				if math.Abs(off) > 0.10 {
					t.Errorf("%s: simulated %.2f/s, by the formula %.2f/s: %+.1f %%", what, got/simMeasure, want, 100*off)
				}
			}
			within("connects", got.connects, r)
			within("messages", got.messages, clients*float64(w.partners)*w.rate*(n-1)/n)
			within("routeLookups", got.routes, clients*routeLookups(w.nodes, w.partners, w.rate, 2*rho))
			within("friendLookups", got.refreshed, clients*friendLookups(w.nodes, w.friends, w.local, rho, w.gap))
			within("watchLookups", got.watched, r*watchLookups(w.nodes, w.friends, w.local))
			within("changeMessages", got.changes, 2*r*changeMessages(w.nodes, w.partners, w.rate, w.friends, w.local))
			within("groupMessages", got.groupMessages, groups*w.publish*groupMessages(w.nodes, w.size))
			within("groupWrites", got.groupWrites, members*rho*groupWrites(w.nodes, w.size))
			within("group routeLookups", got.groupLookups,
				groups*routeLookups(w.nodes, w.size, w.publish/float64(w.size), float64(w.size)*rho*groupWrites(w.nodes, w.size)))
			// Everybody watches the celebrity, so all nodes do.
			within("celebrity lookups", got.starLooked, n*(1/refreshTime+star*perReconnect(w.gap)))
			within("celebrity messages", got.starChanges, 2*star*(n-1))
		})
	}
}

// A node dies: what its clients cost the directory and the others, beside what goes on.
func TestFormulaeOfAHerdHold(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{5, 20} {
		t.Run(fmt.Sprintf("%d nodes", nodes), func(t *testing.T) {
			t.Parallel()
			w := simWorld{clients: 2000, nodes: nodes, partners: 4, rate: 1.0 / 20, friends: 8, reconnect: 1e6, gap: 2, star: 1e6}
			s := simulate(w, 11)
			c := 0.0
			for _, at := range s.at[:w.clients] {
				if at == 0 {
					c++
				}
			}
			s.kill(0)
			s.run(10)
			within := func(what string, got, want float64) {
				t.Helper()
				t.Logf("%-14s simulated %7.0f, formula %7.0f: %+5.1f %%", what, got, want, 100*(got/want-1))
				if math.Abs(got/want-1) > 0.10 {
					t.Errorf("%s: simulated %.0f, by the formula %.0f", what, got, want)
				}
			}
			within("connects", s.n.connects, c)
			within("herdLookups", s.n.forced+s.n.watched, herdLookups(nodes, w.friends, c))
			within("herdMessages", s.n.changes, herdMessages(nodes, w.partners, w.rate, w.friends, c))
		})
	}
}

// The first table of DESIGN.md is what the formulae say for sizes that fit nowhere here.
func TestTableOfTheDirectoryIsWhatTheFormulaeSay(t *testing.T) {
	t.Parallel()
	const (
		partners, rate, friends = 5, 1.0 / 60, 50
		rho, gap                = 10.0 / 86400, 5.0
	)
	page, err := os.ReadFile("../services/presence/DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, c := range []float64{1e6, 1e7, 1e8} {
		for _, n := range []int{10, 100, 1000} {
			head := fmt.Sprintf("| %.0f M | %d |", c/1e6, n)
			_, row, ok := strings.Cut(text, head)
			if !ok {
				t.Errorf("there is no row %s", head)
				continue
			}
			row, _, _ = strings.Cut(row, "\n")
			var has []float64
			for cell := range strings.SplitSeq(strings.Trim(row, " |"), "|") {
				has = append(has, figure(t, cell))
			}
			watching := float64(n) * (1 - (1-routeWatch(n, partners, rate))*(1-friendWatch(n, friends, 0)))
			writes, routes := 2*c*rho, c*routeLookups(n, partners, rate, 2*rho)
			refreshed, watched := c*friendLookups(n, friends, 0, rho, gap), c*rho*watchLookups(n, friends, 0)
			leases := leaseCommands(float64(n))
			want := []float64{
				writes, routes, refreshed, watched, leases, writes * changeMessages(n, partners, rate, friends, 0),
				c * addressBytes(watching) / 1e9,
				masters(writes, routes+refreshed+watched, leases), masters(writes, routes+watched, 0),
			}
			t.Logf("%s %.4g", head, want)
			if len(has) != len(want) {
				t.Errorf("%s has %d figures, not %d", head, len(has), len(want))
				continue
			}
			for i := range want {
				if math.Abs(has[i]-want[i]) > 0.03*want[i] {
					t.Errorf("%s figure %d: the page has %.4g, the formulae say %.4g", head, i+1, has[i], want[i])
				}
			}
		}
	}
}

// figure reads a number such as 12, 1.2 k or 3.4 M.
func figure(t *testing.T, cell string) float64 {
	t.Helper()
	digits, unit, _ := strings.Cut(strings.TrimSpace(cell), " ")
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		t.Errorf("%q is no figure", cell)
	}
	switch unit {
	case "k":
		v *= 1e3
	case "M":
		v *= 1e6
	}
	return v
}
