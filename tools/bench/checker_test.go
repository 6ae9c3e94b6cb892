package bench

import "testing"

func TestTheCheckerCounts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                        string
		answered, shown             []uint64
		lost, duplicated, reordered uint64
	}{
		{name: "nothing"},
		{"all in order", []uint64{0, 1, 2}, []uint64{0, 1, 2}, 0, 0, 0},
		{"a gap that was never answered", []uint64{0, 2}, []uint64{0, 2}, 0, 0, 0},
		{"lost", []uint64{0, 1, 200}, []uint64{0}, 2, 0, 0},
		{"shown, and never answered", []uint64{0}, []uint64{0, 1}, 0, 0, 0},
		{"twice", []uint64{0, 1}, []uint64{0, 0, 1, 0}, 0, 2, 0},
		{"late", []uint64{0, 1, 2}, []uint64{2, 0, 1}, 0, 0, 2},
		{"late, and twice", []uint64{0, 1}, []uint64{1, 0, 0}, 0, 1, 1},
	} {
		var (
			answered bitset
			a        arrivals
		)
		for _, seq := range test.answered {
			answered.add(seq)
		}
		for _, seq := range test.shown {
			a.arrived(seq)
		}
		if a.lost(&answered) != test.lost || a.duplicated != test.duplicated || a.reordered != test.reordered {
			t.Errorf("%s: %d lost, %d duplicated, %d reordered", test.name, a.lost(&answered), a.duplicated, a.reordered)
		}
	}
}

func TestAStampIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, size := range []int{MinSize, 128, 4096} {
		data, want := newPayload(size), stamp{sender: 7, seq: 1 << 40, due: 123456789}
		want.put(data)
		if got, err := readStamp(data); err != nil || got != want || len(data) != size {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
	for _, other := range []string{"", `"b!"`, `"hello, this is a message that is long enough to be one of ours, and is none"`, `"b!` + string(make([]byte, 60))} {
		if _, err := readStamp([]byte(other)); err == nil {
			t.Errorf("%q was taken for ours", other)
		}
	}
}
