package calls

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Table is the persistence table, which all edges share: which instance of a service has a message key.
type Table interface {
	// Bind says which instance has the key. If none has, or only the one that is gone, it is given to take, until it was idle
	// for longer than idle. If take is empty, it is given to nobody, and so may be the answer.
	Bind(ctx context.Context, s contracts.ServiceName, k contracts.CallKey, take, gone contracts.InstanceID, idle time.Duration) (contracts.InstanceID, error)
	// Losses changes when the table may have lost what it held.
	Losses() uint64
}

const (
	bindingParts = 16
	// bindTime is for one question to the table. Longer than the table takes to find out that it cannot answer: an edge that goes by itself while
	// another one is answered may give a key to another instance.
	bindTime    = 5 * time.Second
	tableRest   = time.Second // for how long a table that did not answer is not asked
	maxPlacings = 2048        // keys that are asked for at a time; half of them at most of one service, whose instances may be looked for in vain
	knowTime    = time.Second // within which a node that asks hears of all instances
)

// bindings is the part of the table that this node goes by. A binding may be used for as long as the table cannot have
// forgotten it, and its instance lives.
type bindings struct {
	table Table
	seed  maphash.Seed
	most  int // of one part
	parts [bindingParts]bindingPart

	placing atomic.Int32 // keys that the table is being asked for
	rested  atomic.Int64 // when the table may be asked again, in nanoseconds
}

type bindingKey struct {
	service *service
	key     contracts.CallKey
}

type bindingPart struct {
	mu    sync.Mutex
	known map[bindingKey]*binding
}

// binding says which instance has a key. It is guarded by the mu of its part.
type binding struct {
	to      *instance // nil: the table is being asked
	life    uint64    // of the instance, then
	losses  uint64    // of the table, then
	asked   time.Time // when the table was last asked that said so; zero: it did not
	asking  bool      // it is being asked in the background
	waiting []*call   // for the first answer
}

func newBindings(t Table, most int) *bindings {
	b := &bindings{table: t, seed: maphash.MakeSeed(), most: most / bindingParts}
	for i := range b.parts {
		b.parts[i].known = map[bindingKey]*binding{}
	}
	return b
}

func (b *bindings) part(k bindingKey) *bindingPart {
	return &b.parts[maphash.String(b.seed, string(k.key))%bindingParts]
}

// find returns the instance that has the call's key. If that is not known, the call is kept, its turn comes when it is, and
// find returns false; the call has ended, if too many wait.
func (b *bindings) find(c *call) (*instance, bool) {
	k := bindingKey{c.service, c.key}
	now := time.Now()
	p := b.part(k)
	p.mu.Lock()
	e := p.known[k]
	if e != nil && e.to == nil {
		p.wait(e, c)
		p.mu.Unlock()
		return nil, false
	}
	if e != nil && b.holds(k, e, now) {
		to := e.to
		refresh := !e.asking && now.Sub(e.asked) > k.service.cfg.KeyIdle/4 && now.UnixNano() > b.rested.Load()
		if refresh {
			e.asking = true
		}
		p.mu.Unlock()
		if refresh && !b.place(k, to, nil, e) {
			p.mu.Lock()
			e.asking = false
			p.mu.Unlock()
		}
		return to, true
	}
	var was *instance
	if e != nil {
		was = e.to
	}
	e = &binding{}
	p.wait(e, c)
	p.put(k, e, b.most)
	p.mu.Unlock()
	if !b.place(k, was, c, e) {
		b.settle(k, e, nil, time.Time{}, 0)
	}
	return nil, false
}

// wait has a call wait for the table, for no longer than its time is. How many do is bounded by what the service has in flight. The part is locked.
func (p *bindingPart) wait(e *binding, c *call) {
	e.waiting = append(e.waiting, c)
	c.waits = time.AfterFunc(time.Until(c.deadline), func() {
		p.mu.Lock()
		at := slices.Index(e.waiting, c)
		if at >= 0 {
			e.waiting = slices.Delete(e.waiting, at, at+1)
		}
		p.mu.Unlock()
		if at >= 0 {
			c.late()
		}
	})
}

// holds tells whether a binding may be gone by. The part is locked.
func (b *bindings) holds(k bindingKey, e *binding, now time.Time) bool {
	if !e.to.fit.Load() || e.to.life.Load() != e.life {
		return false
	}
	if now.UnixNano() < b.rested.Load() {
		return true // the table is away: what is known goes on
	}
	return e.losses == b.table.Losses() && !e.asked.IsZero() && now.Sub(e.asked) < k.service.cfg.KeyIdle*3/4
}

// put adds a binding. When there are too many, one goes that chance picks: it is asked for again when it is needed.
func (p *bindingPart) put(k bindingKey, e *binding, most int) {
	if _, there := p.known[k]; !there && len(p.known) >= most {
		for old, x := range p.known {
			if x.to != nil && !x.asking {
				delete(p.known, old)
				break
			}
		}
	}
	p.known[k] = e
}

// place asks the table for a key, on a goroutine of its own, unless too many do. c is a call that the key is asked for, if it is not
// only refreshed.
func (b *bindings) place(k bindingKey, was *instance, c *call, e *binding) bool {
	of := &k.service.placing
	left := func() {
		b.placing.Add(-1)
		of.Add(-1)
	}
	if all, its := b.placing.Add(1), of.Add(1); all > maxPlacings || its > maxPlacings/2 {
		left()
		return false
	}
	d := k.service.dispatcher
	if !d.spawn(func() {
		defer left()
		asked, losses := time.Now(), b.table.Losses() // before the table is asked: it may forget while its answer is on the way
		to, sure := b.ask(d.ctx, k, was, c)
		if was != nil && to != nil && was.id != to.id {
			k.service.moved.Add(1)
		}
		if !sure {
			asked = time.Time{}
		}
		b.settle(k, e, to, asked, losses)
	}) {
		left()
		return false
	}
	return true
}

// settle takes note of who has a key, and has the calls go there that waited for that.
func (b *bindings) settle(k bindingKey, e *binding, to *instance, asked time.Time, losses uint64) {
	p := b.part(k)
	p.mu.Lock()
	if p.known[k] == e && to == nil && e.to == nil {
		delete(p.known, k)
	}
	if to != nil {
		e.to, e.life, e.losses, e.asked = to, to.life.Load(), losses, asked
	}
	e.asking = false
	waiting := e.waiting
	e.waiting = nil
	p.mu.Unlock()
	for _, c := range waiting {
		c.waits.Stop()
		c.goTo(to)
	}
}

// ask finds out who has a key. sure tells that the table said so.
func (b *bindings) ask(ctx context.Context, k bindingKey, was *instance, c *call) (to *instance, sure bool) {
	s := k.service
	if was != nil {
		if now := s.find(was.id); now != nil {
			was = now // a key stays with the id, whichever start has it
		}
	}
	take := was
	if take == nil || !take.fit.Load() || take.draining.Load() && c != nil {
		take = s.choose(string(k.key), nil)
	}
	if take == nil && was != nil && was.fit.Load() {
		take = was // it drains, and nobody else takes what is new
	}
	if take == nil && !s.drains() {
		return nil, false // nobody has room, whatever the table says
	}
	if time.Now().UnixNano() < b.rested.Load() {
		return s.fallback(k, was), false
	}
	var gone contracts.InstanceID
	if was != nil && !was.fit.Load() {
		gone = was.id
	}
	for range 8 {
		has, err := b.bind(ctx, k, take, gone)
		if err != nil {
			b.rested.Store(time.Now().Add(tableRest).UnixNano())
			return s.fallback(k, was), false
		}
		i := s.find(has)
		switch {
		case has == "": // and nobody takes what is new
			return nil, false
		case i != nil && i.fit.Load():
			return i, true
		case i != nil && i == take:
			return nil, false // it died in this moment, and with it all that could be chosen
		case i == nil && !s.empty(has):
			// Another node knows it already, and sends it this key. Its report comes.
		default:
			gone = has
			if take == nil || !take.fit.Load() {
				take = s.choose(string(k.key), nil)
			}
		}
	}
	return nil, false
}

// bind asks the table. take is nil if nobody takes what is new: one that drains may have the key all the same.
func (b *bindings) bind(ctx context.Context, k bindingKey, take *instance, gone contracts.InstanceID) (contracts.InstanceID, error) {
	var id contracts.InstanceID
	if take != nil {
		id = take.id
	}
	ctx, cancel := context.WithTimeout(ctx, bindTime)
	defer cancel()
	return b.table.Bind(ctx, k.service.name, k.key, id, gone, k.service.cfg.KeyIdle)
}

// fallback is who has a key while the table cannot be asked: who had it, or who every node finds.
func (s *service) fallback(k bindingKey, was *instance) *instance {
	if was != nil && was.fit.Load() {
		return was
	}
	return s.byHash(string(k.key), *s.open.Load())
}
