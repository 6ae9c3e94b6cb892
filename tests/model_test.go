package tests

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// The presence state machine: a plan of steps is drawn, and carried out by nodes in fake time; a model of a few lines says
// what must have become of each message, and what the directory must hold.

const (
	modelNodes   = 3
	modelClients = 3
	modelSteps   = 24
	resident     = "resident"
	modelSeed    = "20261122"
	modelChecks  = 40 // unless -rapid.checks says otherwise; each takes about 0.1 s
	// mourning is how long a dead node's clients may be unsure: the lease, and the age of what others know of it.
	mourning = 6500 * time.Millisecond
	// healing is how long the directory may lack entries after it was emptied.
	healing = contracts.LeaseTTL
)

// The promises, by the words that a violation begins with.
const (
	promiseReady   = "missed after ready" // after ready of a session, it is shown every message once
	promiseOnline  = "false offline"      // nobody who is connected is said to be offline
	promiseOffline = "false online"       // who is nowhere, or on a dead node, is said to be
	promiseRecord  = "wrong record"       // at rest the directory holds the live sessions, each on its node
	promiseAnswer  = "wrong answer"       // each request has one answer, and it is true
)

type operation int

const (
	opSend operation = iota // from session a to client b, n times
	opConnect
	opLeave // session a
	opMove  // session a, to node b
	opCrash
	opRestart
	opWait
	opWipe
)

// step is one action. a and b choose among what there is at the time. Steps up to the next one that rests overlap with
// what those before them have set off.
type step struct {
	op      operation
	a, b, n int
	rude    bool // without a close frame; of a move: the new one first
	rest    bool // wait until all is quiet, and check
}

// GoString is how rapid shows it.
func (s step) GoString() string {
	names := [...]string{"send", "connect", "leave", "move", "crash", "restart", "wait", "wipe"}
	text := fmt.Sprintf("%s(%d,%d,%d", names[s.op], s.a, s.b, s.n)
	if s.rude {
		text += ",rude"
	}
	if s.rest {
		return text + ").rest"
	}
	return text + ")"
}

var modelWaits = []time.Duration{10 * time.Millisecond, 400 * time.Millisecond, 2 * time.Second, 7 * time.Second, 31 * time.Second}

var steps = rapid.Custom(func(t *rapid.T) step {
	// The common ones are named more often.
	op := rapid.SampledFrom([]operation{
		opSend, opSend, opSend, opSend, opConnect, opConnect, opConnect, opLeave, opMove, opMove, opCrash, opRestart, opWait, opWait, opWipe,
	}).Draw(t, "op")
	return step{
		op: op, a: rapid.IntRange(0, 5).Draw(t, "a"), b: rapid.IntRange(0, 5).Draw(t, "b"), n: rapid.IntRange(1, 3).Draw(t, "n"),
		rude: rapid.Bool().Draw(t, "rude"), rest: rapid.Bool().Draw(t, "rest"),
	}
})

// machines are what a model runs on.
type machines interface {
	start(i int)
	crash(i int) (bury func()) // without a word; what is left of it is to be buried
	dial(i int) *fleet.Client
	redis() presence.Redis
}

type session struct {
	*fleet.Client
	who     contracts.ClientID
	node    int
	since   time.Time
	pending map[uint64]*message
}

type message struct {
	n       int
	from    *session
	to      contracts.ClientID
	posted  time.Time
	outcome string            // empty: none yet
	must    map[*session]bool // ready before it was sent, and alive since
	shown   map[*session]int
	held    bool // the client had a session when it was sent
	joined  bool // it got one since
	left    int  // of its sessions ended since
	gap     bool // it had none for a while since
	orphan  bool // the sender has gone, and nobody hears the answer
}

type world struct {
	t        *testing.T
	m        machines
	dirs     []*presence.Directory // of each cluster
	client   *redis.Client
	up       [modelNodes]bool
	sessions []*session // the live ones; of each node one that only sends and is sent to
	messages []*message // sent since the last rest
	all      map[int]*message
	leaving  []*session                        // ended since the last rest: their records may not be removed yet
	lost     map[contracts.SessionID]time.Time // what died with a node
	died     map[contracts.ClientID]time.Time  // when a session of it last did
	trouble  time.Time                         // the last crash or wipe
	wiped    time.Time
	stops    sync.WaitGroup
	trace    []string
	broken   string // the first promise that was broken
}

// carryOut runs a plan and returns which promise was broken, or "". It is called in a bubble.
func carryOut(t *testing.T, plan []step, m machines) string {
	t.Helper()
	w := &world{t: t, m: m, all: map[int]*message{}, lost: map[contracts.SessionID]time.Time{}, died: map[contracts.ClientID]time.Time{}}
	for i := range modelNodes {
		m.start(i)
		w.up[i] = true
	}
	for _, c := range []contracts.ClusterName{"a", "b"} {
		dir, err := presence.Open(t.Context(), presence.Config{Cluster: c, Redis: m.redis()})
		if err != nil {
			t.Fatal(err)
		}
		w.dirs = append(w.dirs, dir)
	}
	r := m.redis()
	w.client = redis.NewClient(&redis.Options{Addr: r.Addrs[0], Dialer: r.Dialer, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() {
		_ = w.client.Close()
		for _, d := range w.dirs {
			_ = d.Close(context.WithoutCancel(t.Context()))
		}
	})
	for i := range modelNodes {
		w.connect(contracts.ClientID(fmt.Sprint(resident, i)), i)
	}
	<-time.After(2 * time.Second) // the nodes know each other
	for _, s := range plan {
		w.step(s)
		if w.broken != "" {
			break
		}
	}
	if w.broken == "" {
		w.rest()
	}
	w.stops.Wait()
	return w.broken
}

func (w *world) breaks(promise, format string, args ...any) {
	if w.broken == "" {
		w.broken = promise + ": " + fmt.Sprintf(format, args...) + "\n  " + strings.Join(w.trace, "\n  ")
	}
}

var modelStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%8v ", time.Since(modelStart).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// node returns a node that is up, starting to look at the i-th.
func (w *world) node(i int) int {
	for !w.up[i%modelNodes] {
		i++
	}
	return i % modelNodes
}

// mortal returns the i-th of the sessions that may end, or nil.
func (w *world) mortal(i int) *session {
	var all []*session
	for _, s := range w.sessions {
		if !strings.HasPrefix(string(s.who), resident) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[i%len(all)]
}

func (w *world) step(s step) {
	switch s.op {
	case opSend:
		from := w.sessions[s.a%len(w.sessions)]
		for range s.n {
			w.post(from, clientOf(s.b))
		}
	case opConnect:
		w.connect(clientOf(s.a), w.node(s.b))
	case opLeave:
		if old := w.mortal(s.a); old != nil {
			w.leave(old, s.rude)
		}
	case opMove:
		old := w.mortal(s.a)
		if old == nil {
			return
		}
		if s.rude {
			w.connect(old.who, w.node(s.b))
		}
		w.leave(old, s.n == 1)
		if !s.rude {
			w.connect(old.who, w.node(s.b))
		}
	case opCrash:
		w.crash(w.node(s.a))
	case opRestart:
		w.restart(s.a % modelNodes)
	case opWait:
		d := modelWaits[s.a%len(modelWaits)]
		w.note("wait %v", d)
		<-time.After(d)
	case opWipe:
		w.note("wipe")
		w.wiped, w.trouble = time.Now(), time.Now()
		if err := w.client.FlushAll(w.t.Context()).Err(); err != nil {
			w.t.Fatal(err)
		}
	}
	if s.rest {
		w.rest()
	}
}

func clientOf(i int) contracts.ClientID { return contracts.ClientID(fmt.Sprint("c", i%modelClients)) }

func (w *world) connect(who contracts.ClientID, i int) {
	c := w.m.dial(i)
	c.Login(who)
	s := &session{Client: c, who: who, node: i, since: time.Now(), pending: map[uint64]*message{}}
	w.note("%s is ready on %d: %.6s", who, i, s.Ready.Session)
	w.sessions = append(w.sessions, s)
	for _, m := range w.messages {
		if m.to == who {
			m.joined = true
		}
	}
}

func (w *world) of(who contracts.ClientID) (all []*session) {
	for _, s := range w.sessions {
		if s.who == who {
			all = append(all, s)
		}
	}
	return all
}

func (w *world) post(from *session, to contracts.ClientID) {
	m := &message{n: len(w.all) + 1, from: from, to: to, posted: time.Now(), must: map[*session]bool{}, shown: map[*session]int{}}
	for _, s := range w.of(to) {
		m.must[s], m.held = true, true
	}
	w.note("%s on %d sends %d to %s", from.who, from.node, m.n, to)
	w.all[m.n] = m
	w.messages = append(w.messages, m)
	from.pending[from.Post(to, strconv.Itoa(m.n))] = m
}

// gone takes a session out of the model.
func (w *world) gone(s *session) {
	w.sessions = slices.DeleteFunc(w.sessions, func(o *session) bool { return o == s })
	for _, m := range w.messages {
		delete(m.must, s)
		if m.to == s.who {
			m.left++
			m.gap = m.gap || len(w.of(s.who)) == 0
		}
		if m.from == s && m.outcome == "" {
			m.orphan = true
		}
	}
}

func (w *world) leave(s *session, rude bool) {
	w.note("%s leaves %d: %.6s (rude: %v)", s.who, s.node, s.Ready.Session, rude)
	w.gone(s)
	w.leaving = append(w.leaving, s)
	if rude {
		w.cut(s)
		return
	}
	for _, e := range s.Leave() {
		w.hear(s, e)
	}
}

// cut ends a connection without a word, and hears what had come.
func (w *world) cut(s *session) {
	_ = s.WS().Close()
	for {
		e, err := s.TryNext(fleet.Patience)
		if err != nil {
			return
		}
		w.hear(s, e)
	}
}

func (w *world) crash(i int) {
	up := 0
	for _, u := range w.up {
		if u {
			up++
		}
	}
	if up == 1 {
		return
	}
	w.note("node %d crashes", i)
	w.up[i] = false
	w.trouble = time.Now()
	bury := w.m.crash(i)
	for _, s := range slices.Clone(w.sessions) {
		if s.node == i {
			w.lost[s.Ready.Session], w.died[s.who] = time.Now(), time.Now()
			w.gone(s)
			w.cut(s)
		}
	}
	for _, s := range w.leaving {
		if s.node == i {
			w.lost[s.Ready.Session] = time.Now()
		}
	}
	w.stops.Go(bury)
}

func (w *world) restart(i int) {
	if w.up[i] {
		return
	}
	w.note("node %d starts again", i)
	w.m.start(i)
	w.up[i] = true
	w.connect(contracts.ClientID(fmt.Sprint(resident, i)), i)
}

// hear notes what a session was told.
func (w *world) hear(s *session, e contracts.Event) {
	switch {
	case e.Msg != nil:
		n, _ := strconv.Atoi(string(e.Msg.Data))
		m := w.all[n]
		if m == nil || m.to != s.who || m.from.who != e.Msg.From {
			w.breaks(promiseAnswer, "%s got %+v", s.who, e.Msg)
			return
		}
		if m.shown[s]++; m.shown[s] > 1 {
			w.breaks(promiseReady, "message %d was shown %d times to %s", n, m.shown[s], s.who)
		}
	case e.ID != nil:
		m := s.pending[*e.ID]
		if m == nil || m.outcome != "" {
			w.breaks(promiseAnswer, "%s got a second answer, or to what it did not ask: %+v", s.who, e)
			return
		}
		m.outcome = fleet.Outcome(e)
		delete(s.pending, *e.ID)
	default:
		w.breaks(promiseAnswer, "%s got %+v", s.who, e)
	}
}

// rest waits until all is answered and quiet, and checks.
func (w *world) rest() {
	for end := time.Now().Add(10 * time.Second); w.unanswered() && w.broken == ""; w.listen() {
		if time.Now().After(end) {
			w.breaks(promiseAnswer, "a message was not answered")
		}
	}
	<-time.After(50 * time.Millisecond)
	w.listen()
	for _, m := range w.messages {
		w.judge(m)
	}
	w.messages, w.leaving = nil, nil
	w.compare()
}

func (w *world) unanswered() bool {
	return slices.ContainsFunc(w.sessions, func(s *session) bool { return len(s.pending) > 0 })
}

func (w *world) listen() {
	for _, s := range w.sessions {
		for {
			e, err := s.TryNext(time.Millisecond)
			if err == nil {
				w.hear(s, e)
				continue
			}
			if !errors.Is(err, fleet.ErrSilent) {
				w.breaks(promiseReady, "the session %.6s of %s on %d ended: %v", s.Ready.Session, s.who, s.node, err)
			}
			break
		}
	}
}

// judge decides whether what became of a message is right.
func (w *world) judge(m *message) {
	if m.orphan {
		return
	}
	shown := 0
	for _, n := range m.shown {
		shown += n
	}
	troubled := m.posted.Sub(w.trouble) < mourning
	honest := troubled && (m.outcome == "unknown" || m.outcome == "unavailable")
	switch {
	case m.outcome == "offline" && shown > 0:
		w.breaks(promiseOnline, "message %d to %s was shown, and answered offline", m.n, m.to)
	case m.outcome == "offline" && (len(m.must) > 0 || m.held && !m.gap && m.left == 1):
		w.breaks(promiseOnline, "message %d to %s", m.n, m.to)
	case m.outcome == "delivered" && shown == 0 && m.left == 0:
		w.breaks(promiseAnswer, "message %d to %s was delivered to nobody", m.n, m.to)
	}
	if !m.held && !m.joined && m.outcome != "offline" {
		last := w.died[m.to]
		if w.wiped.After(last) {
			last = w.wiped
		}
		if !honest || m.posted.Sub(last) > mourning {
			w.breaks(promiseOffline, "message %d to %s, who is nowhere, was answered %s", m.n, m.to, m.outcome)
		}
	}
	if len(m.must) > 0 && m.outcome != "delivered" && !honest {
		w.breaks(promiseAnswer, "message %d to %s, who is there, was answered %s", m.n, m.to, m.outcome)
	}
	for s := range m.must {
		if m.shown[s] == 0 && !honest {
			w.breaks(promiseReady, "message %d to %s was not shown to its session %.6s on %d, and answered %s", m.n, m.to, s.Ready.Session, s.node, m.outcome)
		}
	}
}

// compare holds the directory against the live sessions.
func (w *world) compare() {
	var who []contracts.ClientID
	var addresses []contracts.Address
	for i := range modelClients {
		who = append(who, clientOf(i))
		addresses = append(addresses, clientOf(i).Address())
	}
	entries := make([][]contracts.Entry, len(who))
	for _, dir := range w.dirs {
		found, err := dir.Lookup(w.t.Context(), addresses)
		if err != nil {
			w.breaks(promiseRecord, "lookup: %v", err)
			return
		}
		for i := range who {
			entries[i] = append(entries[i], found[i]...)
		}
	}
	for i, c := range who {
		live := map[contracts.SessionID]*session{}
		for _, s := range w.of(c) {
			live[s.Ready.Session] = s
		}
		for _, e := range entries[i] {
			s := live[e.Session]
			if delete(live, e.Session); s != nil && s.Ready.Node != e.Node {
				w.breaks(promiseRecord, "session %.6s of %s is said to be on %s", e.Session, c, e.Node)
			}
			if t, ok := w.lost[e.Session]; s == nil && (!ok || time.Since(t) > mourning) {
				w.breaks(promiseRecord, "session %.6s of %s is in the directory, and has ended", e.Session, c)
			}
		}
		for id, s := range live {
			if time.Since(w.wiped) > healing {
				w.breaks(promiseRecord, "session %.6s of %s on %d is not in the directory", id, c, s.node)
			}
		}
	}
}

// production is a fleet in a bubble: one cluster, or two clusters apart, of which the second has the last node. They share
// servers, which makes no difference to them: subjects and keys carry the cluster.
type production struct {
	t     *testing.T
	f     *fleet.Fleet
	plugs map[contracts.NodeID]*fleet.Plug
	to    presence.Redis
}

func newProduction(t *testing.T, apart bool) *production {
	t.Helper()
	p := &production{t: t, plugs: map[contracts.NodeID]*fleet.Plug{}}
	p.f = fleet.Bubble(t, 0, fleet.Configure(func(c *node.Config) {
		if apart {
			c.Cluster, c.Peers = "a", []contracts.ClusterName{"b"}
			if c.Node == "a3" {
				c.Cluster, c.Peers = "b", []contracts.ClusterName{"a"}
			}
		}
		p.to = c.Redis
		p.plugs[c.Node] = new(fleet.Plug)
		p.plugs[c.Node].Into(&c.NATS, &c.Redis)
	}))
	return p
}

func (p *production) start(i int)              { p.f.Start(i) }
func (p *production) dial(i int) *fleet.Client { return p.f.Connect(i, nil) }
func (p *production) redis() presence.Redis    { return p.to }

func (p *production) crash(i int) func() {
	n := p.f.Nodes[i]
	p.plugs[n.ID].Pull()
	return func() { n.Stop(p.t) }
}

func TestPresenceKeepsItsPromises(t *testing.T) { // not parallel: it sets a flag
	checkPlans(t, false)
}

func TestPresenceKeepsItsPromisesAcrossClusters(t *testing.T) { // likewise
	checkPlans(t, true)
}

func checkPlans(t *testing.T, apart bool) {
	t.Helper()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "rapid.checks" })
	if checks := flag.Lookup("rapid.checks"); !set {
		before := checks.Value.String()
		_ = checks.Value.Set(strconv.Itoa(modelChecks))
		defer func() { _ = checks.Value.Set(before) }()
	}
	if seed := flag.Lookup("rapid.seed"); seed.Value.String() == "0" { // the same plans each time, unless -rapid.seed asks for others
		_ = seed.Value.Set(modelSeed)
		defer func() { _ = seed.Value.Set("0") }()
	}
	plans := rapid.SliceOfN(steps, 4, modelSteps)
	rapid.Check(t, func(rt *rapid.T) {
		plan := plans.Draw(rt, "plan")
		broken := ""
		synctest.Test(t, func(t *testing.T) { broken = carryOut(t, plan, newProduction(t, apart)) })
		if broken != "" {
			rt.Fatal(broken)
		}
	})
}

// Plans that were worth keeping.
var kept = map[string][]step{
	onlyNode: {
		{op: opCrash, a: 2},
		{op: opWait, a: 3, rest: true},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
		{op: opRestart, a: 2},
		{op: opConnect, a: 0, b: 2},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
	},
	"known to be away, wiped, connects": {
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
		{op: opWipe},
		{op: opConnect, a: 0, b: 1},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
	},
	"known, wiped, a second connects": {
		{op: opConnect, a: 0, b: 1, rest: true},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
		{op: opWipe},
		{op: opConnect, a: 0, b: 2},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
	},
	"known, wiped, a second connects when all is well again": {
		{op: opConnect, a: 0, b: 1, rest: true},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
		{op: opWipe},
		{op: opWait, a: 3, rest: true},
		{op: opConnect, a: 0, b: 2},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
	},
	"known to be away, wiped, connects when all is well again": {
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
		{op: opWipe},
		{op: opWait, a: 3, rest: true},
		{op: opConnect, a: 0, b: 1},
		{op: opSend, a: 0, b: 0, n: 1, rest: true},
	},
}

func TestKeptPlans(t *testing.T) {
	t.Parallel()
	for name, plan := range kept {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if broken := carryOut(t, plan, newProduction(t, false)); broken != "" {
					t.Error(broken)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				if broken := carryOut(t, plan, newProduction(t, true)); broken != "" {
					t.Errorf("across clusters: %s", broken)
				}
			})
		})
	}
}
