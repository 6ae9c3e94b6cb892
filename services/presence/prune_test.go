package presence

import (
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/beeline-rt/beeline/contracts"
)

func TestOnlyWhatWasFoundDeadIsRemoved(t *testing.T) {
	t.Parallel()
	mr := miniredis.RunT(t)
	d, err := Open(t.Context(), Config{Cluster: "c", Redis: Redis{Addrs: []string{mr.Addr()}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(t.Context()) }()
	key := string(contracts.RecordKey("c", contracts.ClientID("ann").Address()))
	mr.HSet(key, "s1", "written anew", "s2", "dead", "s3", "of another")
	batch := []corpse{{key, "s1", "dead"}, {key, "s2", "dead"}, {key, "s2", "dead"}, {key, "s4", ""}, {"bl:c:none", "s1", "dead"}}
	for range 2 { // the second time with a script that was lost
		if err := d.bury(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		mr.FlushAll()
		mr.HSet(key, "s1", "written anew", "s2", "dead", "s3", "of another")
		if err := d.client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.bury(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	left, err := mr.HKeys(key)
	if err != nil || len(left) != 2 || mr.HGet(key, "s1") == "" || mr.HGet(key, "s3") == "" {
		t.Errorf("%v is left, %v", left, err)
	}
	if n := d.Stats().Pruned; n != 3 {
		t.Errorf("3 entries were removed, %d were counted", n)
	}
}
