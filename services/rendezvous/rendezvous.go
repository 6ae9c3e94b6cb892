// Package rendezvous says in which order instances serve a key: weighted rendezvous hashing. Whoever knows the same
// instances computes the same order, without a word between them: the registry, which chooses, and those who forward, who
// find what it chose. When an instance comes or goes, only the keys that it takes or leaves move.
//
// It is a leaf that several services import, since they must agree on every bit of it; testdata/orders.jsonl holds that.
package rendezvous

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/beeline-rt/beeline/contracts"
)

// Place is an instance that keys can belong to.
type Place struct {
	Cluster contracts.ClusterName
	Node    contracts.NodeID
	Weight  int // its share, next to that of the others; what is below 1 counts as 1
}

// Score says how strongly a key belongs to a place: it belongs to the one with the highest.
//
// The hash is XXH64, seed 0, of the key, the cluster and the node, each preceded by its length as two bytes, big-endian.
// Its upper 52 bits and a half, divided by 2^52, are a number u between 0 and 1; the score is -weight / ln u. (One bit more and u could be rounded to 1.) With it each
// place gets its share exactly, and a change of one weight moves only what that place wins or loses.
func Score(key contracts.PlacementKey, p Place) float64 {
	in := make([]byte, 0, 256) // on the stack: three ids fit
	for _, part := range [...]string{string(key), string(p.Cluster), string(p.Node)} {
		in = binary.BigEndian.AppendUint16(in, uint16(len(part)))
		in = append(in, part...)
	}
	u := (float64(xxhash.Sum64(in)>>12) + 0.5) / (1 << 52)
	return -float64(max(p.Weight, 1)) / math.Log(u)
}

// First returns the index of the place that a key belongs to, or -1 if there is none.
func First(key contracts.PlacementKey, places []Place) int {
	first, best := -1, 0.0
	for i := range places {
		s := Score(key, places[i])
		if first < 0 || s > best || s == best && compare(places[i], places[first]) < 0 {
			first, best = i, s
		}
	}
	return first
}

// Order returns the indexes of all places, in the order in which they serve a key: the first, the one that takes its
// place, and so on.
func Order(key contracts.PlacementKey, places []Place) []int {
	type scored struct {
		index int
		score float64
	}
	all := make([]scored, len(places))
	for i := range places {
		all[i] = scored{i, Score(key, places[i])}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), compare(places[a.index], places[b.index]))
	})
	order := make([]int, len(all))
	for i := range all {
		order[i] = all[i].index
	}
	return order
}

// compare decides between equal scores, which chance will hardly ever make.
func compare(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Node, b.Node))
}
