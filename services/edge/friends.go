package edge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	friendsTick = 250 * time.Millisecond
	// friendsRefresh is how often a watched client is looked up although nothing was heard of it: the watch in the directory
	// needs it, and it finds what could not be told.
	friendsRefresh = contracts.WatchTTL / 2
	friendsBatch   = 256
	friendsAtOnce  = 4 // batches looked up at a time: another cluster may be far away
	// friendsRetry is after how long one is looked up again who could not be.
	friendsRetry = time.Second
	// refreshWait is the least time between two refreshes of everybody, and refreshStep how many are due in each tick of one:
	// together they may be as many as are watched.
	refreshWait = 2 * time.Second
	refreshStep = 8192
)

// friends are the clients whose presence sessions of this node watch. The directory tells this node, once, when one of
// them changes, however many watch it here; what the change is, a lookup finds out: it can be late or double, and is never
// wrong. What the sessions are told is the state of the client, not of its sessions, and an absence only when it lasts.
type friends struct {
	edge *Edge
	wake chan struct{} // holds one: there is something due

	mu    sync.Mutex // guards the following, and everything that is told, so that a snapshot and what follows keep their order
	m     map[contracts.ClientID]*friend
	alive []contracts.Peer // as of the last tick
	wheel wheel
	news  []contracts.ClientID // have changed, and are to be looked up at once
	stale bool                 // all are to be looked up anew
	fresh time.Time            // when that was done last
}

// friend is one watched client, guarded by friends.mu.
type friend struct {
	watchers map[*Session]struct{} // that have been told what it is
	asking   int                   // watch requests that name it and are not answered yet
	waiting  []*watching           // watch requests that wait for it to be known
	asked    bool                  // it is in news
	known    bool
	online   bool
	peers    []contracts.Peer // where it was last seen
	due      time.Time        // when to look it up next
	turn     uint64           // of the wheel, in which that is
	absent   time.Time        // since when it has been gone, while its watchers are not told; else zero
	lost     bool             // its node died: it has been gone for as long as a lease lives
}

func (f *friends) init(e *Edge) {
	f.edge, f.m, f.wake = e, map[contracts.ClientID]*friend{}, make(chan struct{}, 1)
	f.wheel.start = time.Now()
}

// schedule has a friend looked up at a time. f.mu is held.
func (f *friends) schedule(c contracts.ClientID, x *friend, at time.Time) {
	x.due = at
	x.turn = f.wheel.put(c, at)
}

// watching is a watch request that waits until it is known of all its clients whether they are online.
type watching struct {
	session *Session
	id      uint64
	clients []contracts.ClientID
	left    int // clients of whom it is not known; guarded by friends.mu
	err     error
}

// watch makes a session a watcher of some clients. It is answered which of them are online, and told of every change from
// then on; or that this is not known. A client whom many begin to watch at a time is looked up once.
func (f *friends) watch(s *Session, id uint64, clients []contracts.ClientID) {
	q := &watching{session: s, id: id, clients: clients}
	f.mu.Lock()
	for _, c := range clients {
		x := f.m[c]
		if x == nil {
			x = &friend{watchers: map[*Session]struct{}{}}
			f.m[c] = x
			f.schedule(c, x, time.Now().Add(friendsRefresh))
		}
		x.asking++
		if !x.known {
			x.waiting = append(x.waiting, q)
			q.left++
			f.ask(c, x)
		}
	}
	if q.left == 0 {
		f.conclude(q)
	}
	f.mu.Unlock()
}

// ask has a friend looked up at once. f.mu is held.
func (f *friends) ask(c contracts.ClientID, x *friend) {
	if x.asked {
		return
	}
	x.asked = true
	f.news = append(f.news, c)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// settled tells those who wait for a friend that it is known, or why not. f.mu is held.
func (f *friends) settled(x *friend, err error) {
	waiting := x.waiting
	x.waiting = nil
	for _, q := range waiting {
		q.left--
		if err != nil {
			q.err = err
		}
		if q.left == 0 {
			f.conclude(q)
		}
	}
}

// conclude answers a watch request. f.mu is held, so that whoever unwatches meanwhile, or ends the session, comes after it.
func (f *friends) conclude(q *watching) {
	s := q.session
	var online []contracts.ClientID
	s.mu.Lock()
	for _, c := range q.clients {
		x := f.m[c]
		x.asking--
		if _, still := s.watches[c]; still && !s.left && q.err == nil {
			x.watchers[s] = struct{}{}
		}
		if x.online {
			online = append(online, c)
		}
		f.forget(c, x)
	}
	s.mu.Unlock()
	frame := contracts.AppendOnline(nil, q.id, online)
	if q.err != nil {
		frame = contracts.AppendError(nil, contracts.Request{ID: q.id, HasID: true}, errNotKnown)
	}
	if s.offer(frame, receipt{}) == contracts.StatusOverload {
		f.edge.spawn(func() { s.end(contracts.CloseSlow, tooSlow) }) // which takes f.mu
	}
}

// unwatch takes a session from some clients' watchers.
func (f *friends) unwatch(s *Session, clients []contracts.ClientID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range clients {
		if x := f.m[c]; x != nil {
			delete(x.watchers, s)
			f.forget(c, x)
		}
	}
}

// forget drops a client that nobody watches. f.mu is held.
func (f *friends) forget(c contracts.ClientID, x *friend) {
	if len(x.watchers) == 0 && x.asking == 0 {
		delete(f.m, c)
	}
}

// changed notes that a client's nodes have changed.
func (f *friends) changed(a contracts.Address) {
	if a.Kind != contracts.KindClient {
		return
	}
	f.mu.Lock()
	x := f.m[contracts.ClientID(a.ID)]
	if x != nil {
		f.ask(contracts.ClientID(a.ID), x)
	}
	f.mu.Unlock()
}

// refresh has everybody looked up anew, soon.
func (f *friends) refresh() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale = true // the next tick sees to it
}

// reschedule does so if it is time.
func (f *friends) reschedule() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if !f.stale || now.Sub(f.fresh) < refreshWait {
		return
	}
	f.stale, f.fresh = false, now
	n := 0
	for c, x := range f.m {
		f.schedule(c, x, now.Add(time.Duration(n/refreshStep)*friendsTick))
		n++
	}
}

// run looks up what is due until the edge is closed.
func (f *friends) run() {
	tick := time.NewTicker(friendsTick)
	defer tick.Stop()
	for {
		select {
		case <-f.edge.ctx.Done():
			return
		case <-f.wake:
			f.mu.Lock()
			news := slices.DeleteFunc(f.news, func(c contracts.ClientID) bool { return f.m[c] == nil })
			f.news = nil
			for _, c := range news {
				f.m[c].asked = false // what changes from here on is asked for again
			}
			f.mu.Unlock()
			f.look(news) // what fails is due again
		case <-tick.C:
			f.mourn()
			f.reschedule()
			f.look(f.due())
		}
	}
}

// mourn makes those due who were last seen on a node that has died since.
func (f *friends) mourn() {
	alive := f.edge.dir.Alive()
	f.mu.Lock()
	defer f.mu.Unlock()
	var dead []contracts.Peer // also those that are back: that is another process
	for _, p := range f.alive {
		if !slices.Contains(alive, p) {
			dead = append(dead, p)
		}
	}
	f.alive = alive
	if len(dead) == 0 {
		return
	}
	now := time.Now()
	for c, x := range f.m {
		if slices.ContainsFunc(x.peers, func(p contracts.Peer) bool { return slices.Contains(dead, p) }) {
			x.lost = true
			f.schedule(c, x, now)
		}
	}
}

// due returns whom to look up now.
func (f *friends) due() []contracts.ClientID {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	var due []contracts.ClientID
	for {
		turn, clients, ok := f.wheel.next(now)
		if !ok {
			return due
		}
		for _, c := range clients {
			x := f.m[c]
			switch {
			case x == nil || x.turn != turn: // forgotten, or rescheduled
			case now.Before(x.due):
				f.schedule(c, x, x.due)
			default:
				due = append(due, c)
				f.schedule(c, x, now.Add(friendsRefresh))
			}
		}
	}
}

// look looks clients up and tells their watchers what is new. Those who could not be looked up are due again soon; when
// none of a few batches could, the rest is not tried.
func (f *friends) look(clients []contracts.ClientID) {
	var away error
	for some := range slices.Chunk(clients, friendsAtOnce*friendsBatch) {
		batches := slices.Collect(slices.Chunk(some, friendsBatch))
		entries, errs := make([][][]contracts.Entry, len(batches)), make([]error, len(batches))
		var asking sync.WaitGroup
		for i, batch := range batches {
			if errs[i] = away; away == nil {
				asking.Go(func() { entries[i], errs[i] = f.lookup(batch) })
			}
		}
		asking.Wait()
		for i, batch := range batches {
			if f.take(batch, entries[i], errs[i]) {
				away = errs[i]
			}
		}
	}
}

// take takes in what was found of a batch, and returns whether the directory is away.
func (f *friends) take(batch []contracts.ClientID, entries [][]contracts.Entry, err error) (away bool) {
	var part partialError
	some := errors.As(err, &part) && len(entries) == len(batch)
	failed := 0
	f.edge.burst(func() {
		for i, c := range batch {
			switch {
			case err == nil || some && (!part.FailedAt(i) || len(entries[i]) > 0):
				f.found(c, entries[i])
			case some && part.Elsewhere(i) && f.isNew(c):
				f.found(c, nil) // as far as is known: should another cluster have it, that will be news
				f.again(c, err)
			default:
				f.again(c, err)
				failed++
			}
		}
	})
	return failed == len(batch) && (!some || !part.Doubtful())
}

// isNew tells whether nobody was told anything of a client.
func (f *friends) isNew(c contracts.ClientID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.m[c]
	return x != nil && !x.known
}

func (f *friends) lookup(batch []contracts.ClientID) ([][]contracts.Entry, error) {
	addresses := make([]contracts.Address, len(batch))
	for i, c := range batch {
		addresses[i] = c.Address()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.edge.ctx), connectTime)
	defer cancel()
	return f.edge.dir.Lookup(ctx, addresses)
}

// again makes a client due soon, and tells those who wait for it that it is not known.
func (f *friends) again(c contracts.ClientID, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.m[c]; x != nil {
		f.schedule(c, x, time.Now().Add(friendsRetry))
		f.settled(x, err)
	}
}

// found takes in where a client is, and tells its watchers if that is news.
func (f *friends) found(c contracts.ClientID, entries []contracts.Entry) {
	f.mu.Lock()
	x := f.m[c]
	if x == nil { // nobody watches it any more
		f.mu.Unlock()
		return
	}
	x.peers = x.peers[:0]
	for _, e := range entries {
		x.peers = append(x.peers, contracts.Peer{Node: e.Node, Epoch: e.Epoch})
	}
	now, online := time.Now(), len(entries) > 0
	news := x.known && x.online != online
	switch {
	case !news:
		x.absent = time.Time{}
	case !online && !x.lost && x.absent.IsZero() && f.edge.cfg.Linger > 0:
		x.absent = now
		fallthrough
	case !online && !x.lost && now.Sub(x.absent) < f.edge.cfg.Linger:
		// It may be back in a moment: nobody is told until it has been gone for a while.
		f.schedule(c, x, x.absent.Add(f.edge.cfg.Linger))
		f.mu.Unlock()
		return
	}
	x.known, x.online, x.lost, x.absent = true, online, false, time.Time{}
	f.settled(x, nil)
	var slow []*Session
	if news {
		f.edge.metrics.presence.Inc()
		frame := contracts.AppendPresence(nil, c, online)
		for s := range x.watchers {
			if s.offer(frame, receipt{}) == contracts.StatusOverload {
				slow = append(slow, s)
			}
		}
	}
	f.mu.Unlock()
	for _, s := range slow {
		s.end(contracts.CloseSlow, tooSlow)
	}
}
