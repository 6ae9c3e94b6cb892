package rendezvous

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
)

var update = flag.Bool("update", false, "rewrite what the golden file expects")

func places(n int) []Place {
	all := make([]Place, n)
	for i := range all {
		all[i] = Place{Cluster: "a", Node: contracts.NodeID(fmt.Sprint("a", i+1)), Weight: 1}
	}
	return all
}

func keyNumber(i int) contracts.PlacementKey { return contracts.PlacementKey(fmt.Sprint("room-", i)) }

const keys = 100_000

func TestAFifthNodeTakesAFifthOfTheKeysAndNoOtherKeyMoves(t *testing.T) {
	t.Parallel()
	four, five := places(4), places(5)
	moved := 0
	var from [4]int
	for i := range keys {
		before, after := First(keyNumber(i), four), First(keyNumber(i), five)
		if before == after {
			continue
		}
		if after != 4 {
			t.Fatalf("%s moved from %d to %d, both of which were there before", keyNumber(i), before, after)
		}
		moved++
		from[before]++
	}
	t.Logf("%d of %d keys moved: %v", moved, keys, from)
	// A fifth, within five standard deviations (126).
	if math.Abs(float64(moved)-keys/5) > 5*126 {
		t.Errorf("%d of %d keys moved", moved, keys)
	}
	for node, n := range from {
		if math.Abs(float64(n)-keys/20) > 5*69 {
			t.Errorf("%d of the keys came from node %d: %v", n, node, from)
		}
	}
}

func TestWeightsAreShares(t *testing.T) {
	t.Parallel()
	all := places(4)
	all[0].Weight, all[3].Weight = 3, 5 // of 10
	var got [4]int
	for i := range keys {
		got[First(keyNumber(i), all)]++
	}
	for i, want := range []float64{.3, .1, .1, .5} {
		if share := float64(got[i]) / keys; math.Abs(share-want) > .008 {
			t.Errorf("node %d with weight %d of 10 has %.3f", i, all[i].Weight, share)
		}
	}
	more := slices.Clone(all)
	more[0].Weight = 4
	for i := range keys {
		if before, after := First(keyNumber(i), all), First(keyNumber(i), more); before != after && after != 0 {
			t.Fatalf("a larger weight of node 0 moved a key from %d to %d", before, after)
		}
	}
}

func TestTheAlternateIsWhoTakesOver(t *testing.T) {
	t.Parallel()
	all := places(6)
	slices.Reverse(all) // the order in which they are known does not matter
	for i := range 1000 {
		key := keyNumber(i)
		left, order := slices.Clone(all), Order(key, all)
		for _, next := range order {
			if got := left[First(key, left)]; got != all[next] {
				t.Fatalf("%s: %v is first, and not %v", key, got, all[next])
			}
			left = slices.DeleteFunc(left, func(p Place) bool { return p == all[next] })
		}
	}
	if First("k", nil) != -1 || len(Order("k", nil)) != 0 {
		t.Error("there is a first of none")
	}
}

type orderCase struct {
	Key    contracts.PlacementKey `json:"key"`
	Places []string               `json:"places"` // cluster/node*weight
	Order  []string               `json:"order"`  // cluster/node
}

// The order is an agreement between processes of different versions: it must not change.
func TestGoldenOrders(t *testing.T) {
	const file = "testdata/orders.jsonl"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		var c orderCase
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		var all []Place
		for _, text := range c.Places {
			var p Place
			name, weight, _ := strings.Cut(text, "*")
			cluster, node, _ := strings.Cut(name, "/")
			p.Cluster, p.Node = contracts.ClusterName(cluster), contracts.NodeID(node)
			if _, err := fmt.Sscan(weight, &p.Weight); err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		var got []string
		for _, i := range Order(c.Key, all) {
			got = append(got, string(all[i].Cluster)+"/"+string(all[i].Node))
		}
		if !*update && !slices.Equal(got, c.Order) {
			t.Errorf("%s: %v, not %v", c.Key, got, c.Order)
		}
		c.Order = got
		again, _ := json.Marshal(c)
		out.Write(append(again, '\n'))
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkFirst(b *testing.B) {
	for _, n := range []int{4, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all := places(n)
			b.ReportAllocs()
			for b.Loop() {
				First("room-1", all)
			}
		})
	}
}
