package calls

import (
	"log/slog"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Each start of an instance has an epoch, and a subject of its own. Of those that report under one id, the one with the highest epoch gets
// the calls: a process that was started because the one before it hangs has nothing in common with that one but the id, and the keys that are
// bound to it.
//
// What is under way at a start that was replaced goes nowhere else, since it may be carried out, unless it is idempotent. It is given up lastWords
// later, as that of an instance that is gone, unless that start reports: then it lives, and answers what it has. The id falls back to it if the
// newer one ends or dies, and it still reports.

// reported takes note of what a start of an instance says of itself, unless it is one too many; at is where it gets its calls.
func (s *service) reported(r contracts.Report, at contracts.Subject) (noted bool) {
	summon, noted := s.heard(r, at)
	if summon {
		s.dispatcher.bus().Summon(s.name, r.Instance, time.Now().Add(lastWords), make(absent, 1)) // the one before reports, if it can
	}
	return noted
}

// heard takes note of a report, and returns whether a start was replaced by it that has calls.
func (s *service) heard(r contracts.Report, at contracts.Subject) (summon, noted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.instances[r.Instance]
	if len(s.cfg.HTTP) > 0 || last == nil && !s.admits() {
		return false, false
	}
	i := s.started(last, r)
	if i == nil || i != last {
		newer := last != nil && last.fit.Load() && last.epoch > r.Epoch
		if newer || r.Ended {
			s.behind(last, i, r)
			return false, true
		}
		if i == nil {
			i = &instance{service: s, id: r.Instance, epoch: r.Epoch, at: at}
		}
		i.since = time.Now()
		s.instances[r.Instance] = i
	}
	if i.says(r) || i != last {
		s.list(i)
	}
	return i != last && s.replaced(last, i), true // after there is another one to choose
}

// started returns the start that a report is of, or nil. s.mu is held.
func (s *service) started(last *instance, r contracts.Report) *instance {
	if last != nil && last.epoch == r.Epoch {
		return last
	}
	return s.former[start{r.Instance, r.Epoch}]
}

// behind takes a report of a start that gets nothing: i, if it has calls. s.mu is held.
func (s *service) behind(last, i *instance, r contracts.Report) {
	if i != nil {
		i.heard, i.stays = time.Now(), r.Life
		i.leaving.Store(true) // it lives, and answers what it has
	}
	if r.Ended || time.Since(last.since) < lastWords {
		return // as it should be
	}
	d := s.dispatcher
	d.counters.doubles.Add(1)
	if !last.doubled && s.lines.Allow() {
		last.doubled = true
		d.log.Error("two processes are one instance of a service: the one that was started later gets the calls",
			slog.String("service", string(s.name)), slog.String("instance", string(r.Instance)), slog.Uint64("epoch", uint64(last.epoch)), slog.Uint64("older", uint64(r.Epoch)))
	}
}

// replaced takes note that an id has gone from one start to another, and returns whether the former has calls. s.mu is held.
func (s *service) replaced(last, by *instance) bool {
	delete(s.former, start{by.id, by.epoch})
	if last == nil {
		return false
	}
	if last.fit.Swap(false) {
		last.life.Add(1)
		last.doom = time.Now().Add(lastWords)
	}
	if last.sent.Load() == 0 { // who adds a call now sees after that that it is not fit
		return false
	}
	s.former[start{last.id, last.epoch}] = last
	return true
}

// says takes note of what a start that gets the calls of its id reports, and returns whether that changes whether it gets more. service.mu is held.
func (i *instance) says(r contracts.Report) (changed bool) {
	i.heard, i.stays = time.Now(), r.Life
	i.capacity.Store(int32(r.Capacity))
	i.waiting.Store(int32(r.Waiting))
	i.weight.Store(int32(r.Weight))
	i.others.Store(max(0, int32(min(r.InFlight, contracts.MaxCapacity))-i.sent.Load()))
	i.leaving.Store(r.Ended)
	if !r.Ended {
		i.doom = time.Time{}
	}
	if i.fit.Swap(!r.Ended) == r.Ended {
		changed = true
		if r.Ended {
			i.life.Add(1)
		}
	}
	return i.draining.Swap(r.Draining) != r.Draining || changed
}
