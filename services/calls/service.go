package calls

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	maxServices  = 1024 // that a node takes note of
	maxInstances = 1024 // of one service

	// logBurst is how many lines are logged at once of what the instances of a service do, which is as often as they like; after that, it is one each
	// second. All of it is counted.
	logBurst = 100
)

// service is one service, and its instances.
type service struct {
	// set once
	dispatcher *Dispatcher
	name       contracts.ServiceName
	cfg        Service
	rule       rule

	inFlight atomic.Int32
	placing  atomic.Int32 // keys that the table is being asked for
	next     atomic.Uint64
	open     atomic.Pointer[[]*instance] // those that get what is new, in the order of their ids
	moved    atomic.Uint64               // keys that have moved
	budget   budget
	lines    *rate.Limiter // of the log

	mu        sync.Mutex
	instances map[contracts.InstanceID]*instance // guarded by mu; of each id the start that gets the calls
	former    map[start]*instance                // guarded by mu; those that another one has replaced, and that have calls
}

// start names a start of an instance.
type start struct {
	id    contracts.InstanceID
	epoch contracts.Epoch
}

func newService(d *Dispatcher, name contracts.ServiceName, cfg Service) *service {
	s := &service{dispatcher: d, name: name, cfg: cfg, lines: rate.NewLimiter(1, logBurst), instances: map[contracts.InstanceID]*instance{}, former: map[start]*instance{}}
	s.rule, _ = newRule(cfg.Key) // checked by Validate
	s.open.Store(&[]*instance{})
	s.budget.init()
	return s
}

func (*service) clock() int64 { return time.Now().UnixNano() }

// find returns an instance by its id, or nil.
func (s *service) find(id contracts.InstanceID) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[id]
}

// deserted tells whether it has no instance, and nothing in flight.
func (s *service) deserted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.instances) == 0 && len(s.former) == 0 && s.inFlight.Load() == 0
}

// admits tells whether there is room for one more instance. When there are too many, those that are gone, and have nothing, make way. s.mu is held.
func (s *service) admits() bool {
	if len(s.instances) >= maxInstances {
		maps.DeleteFunc(s.instances, func(_ contracts.InstanceID, i *instance) bool { return !i.fit.Load() && i.sent.Load() == 0 })
	}
	return len(s.instances) < maxInstances
}

// drains tells whether there is an instance that keeps its keys, and gets nothing new.
func (s *service) drains() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		if i.fit.Load() && i.draining.Load() {
			return true
		}
	}
	return false
}

// absent waits for the word that nobody is there.
type absent chan contracts.Status

// Ended takes what became of the question.
func (w absent) Ended(_ []byte, st contracts.Status) { w <- st }

// empty finds out whether there is nobody under an id of which this node has not heard. It waits a while for proof.
func (s *service) empty(id contracts.InstanceID) bool {
	if len(s.cfg.HTTP) > 0 {
		return true // all are known
	}
	w := make(absent, 1)
	s.dispatcher.bus().Summon(s.name, id, time.Now().Add(knowTime/8), w)
	return <-w == contracts.StatusNobody
}

// list puts an instance on the list of those that get what is new, in the place of the one before it under its id, or takes that off. An instance may
// change as often as it likes, so this does not look at the others. s.mu is held.
func (s *service) list(i *instance) {
	open := slices.Clone(*s.open.Load())
	at, there := slices.BinarySearchFunc(open, i.id, func(other *instance, id contracts.InstanceID) int { return cmp.Compare(other.id, id) })
	switch wanted := i.fit.Load() && !i.draining.Load(); {
	case wanted && there:
		open[at] = i
	case wanted:
		open = slices.Insert(open, at, i)
	case there:
		open = slices.Delete(open, at, at+1)
	}
	s.open.Store(&open)
}

// gone takes note that an instance is not there, and returns whether that is news.
func (s *service) gone(i *instance) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !i.fit.Swap(false) {
		return false
	}
	i.life.Add(1)
	i.doom = time.Now().Add(lastWords)
	s.list(i)
	return true
}

// lastWords is how long what an instance has is waited for after nobody was found there: one that ends in good order says so, and answers
// it.
const lastWords = 100 * time.Millisecond

const (
	watchTick = 50 * time.Millisecond // how often instances are looked at that should have reported
	forget    = 5 * time.Minute       // after which an instance that is gone is forgotten
)

// watch looks for instances that should have reported: of one that has calls it is found out whether it is there, one whose report
// does not stand any more is dead, and what is lost has nobody who answers it.
func (s *service) watch(now time.Time) (probe, dead, lost []*instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, i := range s.instances {
		silent := now.Sub(i.heard)
		switch {
		case i.target != nil:
		case !i.fit.Load() && i.sent.Load() == 0:
			if silent > forget {
				delete(s.instances, id)
			}
		case !i.fit.Load():
			if i.lost(now) {
				lost = append(lost, i)
			}
		case silent > i.stays:
			dead = append(dead, i)
		case silent > i.stays*2/5 && i.sent.Load() > 0 && now.Sub(i.asked) > i.stays/8:
			i.asked = now
			probe = append(probe, i)
		}
	}
	maps.DeleteFunc(s.former, func(_ start, i *instance) bool {
		if i.lost(now) {
			lost = append(lost, i)
		}
		return i.sent.Load() == 0
	})
	return probe, dead, lost
}

// lost tells whether nobody answers what an instance has that gets nothing more. service.mu is held.
func (i *instance) lost(now time.Time) bool {
	return now.Sub(i.heard) > i.stays || !i.leaving.Load() && now.After(i.doom)
}

// budget bounds how many calls are tried again: as many as a share of all calls, so that what tries again does not add to an
// overload that made it fail.
type budget struct{ tenths atomic.Int64 }

const (
	retryShare = 2    // tenths of all calls
	retryMost  = 1000 // tenths that may be saved: 100 retries
)

func (b *budget) init() { b.tenths.Store(retryMost / 10) }

// called adds what one call brings.
func (b *budget) called() {
	if b.tenths.Load() < retryMost {
		b.tenths.Add(retryShare)
	}
}

// take takes one retry out.
func (b *budget) take() bool {
	if b.tenths.Add(-10) >= 0 {
		return true
	}
	b.tenths.Add(10)
	return false
}
