package contracts

import (
	"errors"
	"math"
	"strings"
	"testing"
)

type loadCase struct {
	Name   string    `json:"name"`
	Encode *loadForm `json:"encode,omitempty"`
	Text   string    `json:"text"`
	Load   *loadForm `json:"load,omitempty"`
	Error  bool      `json:"error,omitempty"`
}

type loadForm struct {
	Users    int       `json:"users"`
	Capacity int       `json:"capacity"`
	Arrivals uint64    `json:"arrivals,string"`
	State    NodeState `json:"state"`
	Weight   int       `json:"weight"`
	Zone     Zone      `json:"zone,omitempty"`
	URL      string    `json:"url,omitempty"`
	TCP      string    `json:"tcp,omitempty"`
}

func TestGoldenLoads(t *testing.T) {
	golden(t, "loads.jsonl", func(c loadCase) string { return c.Name }, func(tb testing.TB, c loadCase) loadCase {
		tb.Helper()
		if c.Encode != nil {
			c.Text = Load(*c.Encode).Encode()
		}
		l, err := ParseLoad(c.Text)
		c.Load, c.Error = nil, err != nil
		if err == nil {
			form := loadForm(l)
			c.Load = &form
		}
		return c
	})
}

func TestLargestLoadFits(t *testing.T) {
	t.Parallel()
	l := Load{
		Users: math.MaxInt32, Capacity: math.MaxInt32, Arrivals: math.MaxUint64, State: NodeDraining, Weight: MaxWeight,
		Zone: Zone(strings.Repeat("z", MaxNodeIDLength)), URL: "wss://" + strings.Repeat("h", MaxNodeURL-6),
		TCP: "tls://" + strings.Repeat("h", MaxNodeTCP-len("tls://:65535")) + ":65535",
	}
	if got, err := ParseLoad(l.Encode()); err != nil || got != l {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzParseLoad holds that nothing makes the parser panic, and that what it accepts is valid and comes back as it was.
func FuzzParseLoad(f *testing.F) {
	for _, c := range readCases[loadCase](f, "loads.jsonl") {
		f.Add(c.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLoad(text)
		if err != nil {
			if l != (Load{}) || !errors.Is(err, ErrInvalidLoad) {
				t.Fatalf("%q: %+v, %v", text, l, err)
			}
			return
		}
		if again, err := ParseLoad(l.Encode()); err != nil || again != l || l.Validate() != nil {
			t.Fatalf("%q: %+v, then %+v, %v", text, l, again, err)
		}
	})
}
