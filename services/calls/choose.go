package calls

import (
	"math/rand/v2"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/rendezvous"
)

// choose returns the instance for a call, or a key, that none has; nil if there is none with room. but, if not nil, is not chosen
// unless there is no other.
func (s *service) choose(key string, but *instance) (chosen *instance) {
	some := s.takes(but)
	if len(some) == 0 {
		return nil
	}
	switch s.cfg.Policy {
	case Hash:
		return s.byHash(key, some)
	case RoundRobin:
		chosen = some[s.next.Add(1)%uint64(len(some))]
	case Weighted:
		chosen = weighted(some)
	default:
		chosen = s.lighter(some)
	}
	if chosen.room() {
		return chosen
	}
	from := rand.IntN(len(some))
	for n := range some {
		if i := some[(from+n)%len(some)]; i.room() {
			return i
		}
	}
	return nil
}

// takes returns the instances that get what is new.
func (s *service) takes(but *instance) []*instance {
	all := *s.open.Load()
	now := s.clock()
	plain := true
	for _, i := range all {
		if i == but || i.share(now) < 1 {
			plain = false
		}
	}
	if plain {
		return all // nearly always
	}
	var some, others []*instance
	for _, i := range all {
		if i == but {
			continue
		}
		others = append(others, i)
		if share := i.share(now); share == 1 || share > 0 && rand.Float64() < share {
			some = append(some, i)
		}
	}
	switch {
	case 2*len(some) >= len(others) && len(some) > 0:
		return some
	case len(others) > 0:
		return others // when half of them fail, the fault is likely to be elsewhere
	}
	return all
}

// lighter returns the one of two, which chance picks, that has less to do.
func (s *service) lighter(some []*instance) *instance {
	if len(some) == 1 {
		return some[0]
	}
	// The first goes round, so that where there is nothing to choose between, it is even.
	a := int(s.next.Add(1) % uint64(len(some)))
	b := (a + 1 + rand.IntN(len(some)-1)) % len(some)
	if some[a].busier(some[b]) {
		return some[b]
	}
	return some[a]
}

func weighted(some []*instance) *instance {
	sum := int32(0)
	for _, i := range some {
		sum += i.weight.Load()
	}
	n := rand.Int32N(max(1, sum))
	for _, i := range some {
		if n -= i.weight.Load(); n < 0 {
			return i
		}
	}
	return some[0]
}

// byHash returns the instance that every node finds that knows the same ones.
func (s *service) byHash(key string, some []*instance) *instance {
	if len(some) == 0 {
		return nil
	}
	places := make([]rendezvous.Place, len(some))
	for n, i := range some {
		places[n] = rendezvous.Place{Cluster: contracts.ClusterName(s.name), Node: contracts.NodeID(i.id), Weight: int(i.weight.Load())}
	}
	if i := some[rendezvous.First(contracts.PlacementKey(key), places)]; i.room() {
		return i
	}
	return nil // another one would not be what the others find
}
