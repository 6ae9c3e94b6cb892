package registry

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/rendezvous"
)

// These say that there is nowhere to send anybody, or no client of raw TCP.
var (
	errNoInstance = errors.New("no instance is fit to serve")
	errNoTCP      = errors.New("no instance that takes clients in over raw TCP is fit to serve")
)

func errNone(over contracts.Transport) error {
	if over == contracts.RawTCP {
		return errNoTCP
	}
	return errNoInstance
}

// board is where the instances of all clusters stand, and who is chosen. It is safe for concurrent use.
type board struct {
	mu     sync.Mutex
	places []rendezvous.Place         // guarded by mu; never changed, only replaced
	nodes  []*instance                // guarded by mu; of each place
	share  share                      // guarded by mu
	keys   [][]contracts.PlacementKey // guarded by mu; of each place: keys that belong to it, drawn while looking for others
}

// instance is one that can be chosen.
type instance struct {
	cluster contracts.ClusterName
	contracts.Instance
	handed handed
}

const (
	spareKeys = 32   // that are kept for a place
	keyDraws  = 4096 // until a place is given up for which there is none: it has less than a thousandth of all weight
)

// instances are those of one cluster.
type instances struct {
	cluster contracts.ClusterName
	all     []contracts.Instance
}

// update replaces what is known. What was handed out to an instance that goes on is kept.
func (b *board) update(now time.Time, clusters []instances) {
	b.mu.Lock()
	defer b.mu.Unlock()
	type name struct {
		cluster contracts.ClusterName
		peer    contracts.Peer
	}
	before := make(map[name]*instance, len(b.nodes))
	for _, n := range b.nodes {
		before[name{n.cluster, n.Peer}] = n
	}
	var places []rendezvous.Place
	var nodes []*instance
	part := b.share.part()
	for _, c := range clusters {
		for _, i := range c.all {
			n := &instance{cluster: c.cluster, Instance: i}
			if old := before[name{c.cluster, i.Peer}]; old != nil {
				n.handed = old.handed
				if i.Load.Arrivals > old.Load.Arrivals {
					n.handed.arrived(float64(i.Load.Arrivals-old.Load.Arrivals) * part)
					b.share.arrived += float64(i.Load.Arrivals - old.Load.Arrivals)
				}
				n.handed.expire(now)
			}
			nodes = append(nodes, n)
			places = append(places, rendezvous.Place{Cluster: c.cluster, Node: i.Node, Weight: i.Load.Weight})
		}
	}
	b.nodes = nodes
	b.share.fade(now)
	if !slices.Equal(places, b.places) {
		b.places, b.keys = places, make([][]contracts.PlacementKey, len(places))
	}
}

// users is how many the instance will have when all who were sent there have arrived: by this registry, and as many more as
// others will have sent meanwhile.
func (b *board) users(n *instance) float64 {
	return float64(n.Load.Users) + n.handed.waiting/b.share.part()
}

// fit tells whether clients of a transport may be sent there. Through a gateway, too, that takes an address: it goes on over the
// same transport.
func (b *board) fit(n *instance, over contracts.Transport) bool {
	return n.Load.State == contracts.NodeReady && n.Load.Address(over) != "" && b.users(n) < float64(n.Load.Capacity)
}

// fitness is how many instances there are in a cluster, and how many are fit, over one transport or the other.
func (b *board) fitness(cluster contracts.ClusterName) (all, fit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.nodes {
		if n.cluster == cluster {
			all++
			if b.fit(n, contracts.WebSocket) || b.fit(n, contracts.RawTCP) {
				fit++
			}
		}
	}
	return all, fit
}

// target is an instance that serves a key.
type target struct {
	cluster contracts.ClusterName
	node    contracts.NodeID
	url     string
}

// byKey returns the fit instances in the order in which they serve a key, and counts one client for the first.
func (b *board) byKey(now time.Time, key contracts.PlacementKey, over contracts.Transport) ([]target, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.order(now, key, over)
}

// order needs b.mu.
func (b *board) order(now time.Time, key contracts.PlacementKey, over contracts.Transport) ([]target, error) {
	var order []target
	for _, i := range rendezvous.Order(key, b.places) {
		n := b.nodes[i]
		if !b.fit(n, over) {
			continue
		}
		if len(order) == 0 {
			n.handed.add(now)
			b.share.sent++
		}
		order = append(order, target{n.cluster, n.Node, n.Load.Address(over)})
	}
	if len(order) == 0 {
		return nil, errNone(over)
	}
	return order, nil
}

// byLoad chooses an instance by its load, and returns a key that belongs to it and what byKey returns for that.
func (b *board) byLoad(now time.Time, zone contracts.Zone, over contracts.Transport) (contracts.PlacementKey, []target, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var near, far []int
	for i, n := range b.nodes {
		switch {
		case !b.fit(n, over):
		case zone != "" && n.Load.Zone == zone:
			near = append(near, i)
		default:
			far = append(far, i)
		}
	}
	among := near
	if len(near) == 0 {
		among = far
	}
	if len(among) == 0 {
		return "", nil, errNone(over)
	}
	key := b.keyOf(b.lighter(among))
	order, err := b.order(now, key, over)
	return key, order, err
}

// lighter picks two at random, each as likely as its weight says, and returns the one with fewer users for its weight.
// It needs b.mu.
func (b *board) lighter(among []int) int {
	one := b.pick(among, -1)
	if len(among) == 1 {
		return one
	}
	other := b.pick(among, one)
	if b.relative(other) < b.relative(one) {
		return other
	}
	return one
}

func (b *board) relative(i int) float64 {
	n := b.nodes[i]
	return b.users(n) / float64(n.Load.Weight)
}

// pick returns one at random, but not the given one.
func (b *board) pick(among []int, not int) int {
	total := 0
	for _, i := range among {
		if i != not {
			total += b.nodes[i].Load.Weight
		}
	}
	left := rand.IntN(total)
	for _, i := range among {
		if i == not {
			continue
		}
		if left -= b.nodes[i].Load.Weight; left < 0 {
			return i
		}
	}
	return among[0] // not reached
}

// keyOf returns a key that belongs to a place: all that are drawn until there is one are kept for the places that they
// belong to, so that on average a request costs one draw. It needs b.mu.
func (b *board) keyOf(place int) contracts.PlacementKey {
	if spare := b.keys[place]; len(spare) > 0 {
		b.keys[place] = spare[:len(spare)-1]
		return spare[len(spare)-1]
	}
	for draw := 1; ; draw++ {
		key := contracts.PlacementKey("p." + strconv.FormatUint(rand.Uint64(), 36))
		belongs := rendezvous.First(key, b.places)
		if belongs == place || draw == keyDraws {
			return key
		}
		if len(b.keys[belongs]) < spareKeys {
			b.keys[belongs] = append(b.keys[belongs], key)
		}
	}
}
