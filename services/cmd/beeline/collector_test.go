package main

import "testing"

func TestCollectorHasRoomWhenBusyAndGivesBackWhenQuiet(t *testing.T) {
	t.Parallel()
	var set []int
	given := 0
	c := &collector{percent: defaultPercent, set: func(p int) int { set = append(set, p); return 0 }, giveBack: func() { given++ }}
	allocated := uint64(0)
	ticks := func(n int, live, perTick uint64) {
		for range n {
			allocated += perTick
			c.tick(live, allocated)
		}
	}
	ticks(10, 8<<20, 100<<20)
	if len(set) != 1 || set[0] != 800 || given != 0 {
		t.Errorf("busy with 8 MiB live: set to %v, given back %d times", set, given)
	}
	ticks(10, 9<<20, 100<<20) // about the same
	if len(set) != 1 {
		t.Errorf("set again for nothing: %v", set)
	}
	ticks(10, 1<<30, 100<<20)
	if len(set) != 2 || set[1] != defaultPercent {
		t.Errorf("with 1 GiB live: %v", set)
	}
	ticks(quietTicks-1, 1<<30, 0)
	if given != 0 {
		t.Error("given back after a short pause")
	}
	ticks(100, 1<<30, quietBytes/100)
	if given != 1 {
		t.Errorf("given back %d times in one quiet time", given)
	}
	c.released = allocated
	ticks(100, 32<<20, quietBytes-1)
	if want := 1 + 100*(quietBytes-1)/worthBytes; given < 2 || given > want {
		t.Errorf("given back %d times while a little was allocated, not 2 to %d times", given, want)
	}
}
