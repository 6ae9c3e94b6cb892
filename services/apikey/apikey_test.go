package apikey

import (
	"errors"
	"strings"
	"testing"
)

func TestAKeyIsFoundByItsHashAlone(t *testing.T) {
	t.Parallel()
	one, other := New(), New()
	if one == other || len(one) != 43 {
		t.Fatalf("%q and %q", one, other)
	}
	parsed, err := Parse(" " + strings.ToUpper(Of(other).String()) + "\n")
	if err != nil || parsed != Of(other) {
		t.Fatal(err)
	}
	hashes := []Hash{{}, Of(one), parsed}
	for key, want := range map[string]int{one: 1, other: 2, "": -1, one + " ": -1, Of(one).String(): -1} {
		if got := Find(key, hashes); got != want {
			t.Errorf("%q: %d, not %d", key, got, want)
		}
	}
	long := strings.Repeat("k", maxLength+1)
	if Find(long, []Hash{Of(long)}) != -1 {
		t.Error("a key over the bound was hashed")
	}
}

func TestWhatIsNoHashIsRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "secret", strings.Repeat("0", 63), strings.Repeat("0", 66), strings.Repeat("g", 64)} {
		if _, err := Parse(s); !errors.Is(err, ErrHash) || s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
