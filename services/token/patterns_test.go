package token_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/services/token"
)

func TestPatternMatchesTheWholeID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"alice", []string{"alice"}, []string{"", "Alice", "alic", "alice2", "malice"}},
		{"*", []string{"", "a", "a.b:c@d-e_f"}, nil},
		{"**", []string{"", "a"}, nil},
		{"team.*", []string{"team.", "team.a", "team.a.b"}, []string{"team", "steam.a", "Team.a"}},
		{"*.eu", []string{".eu", "a.eu", "a.eu.eu"}, []string{"eu", "a.eu2"}},
		{"a*a", []string{"aa", "aba", "aaa"}, []string{"a", "ab", "ba"}},
		{"ab*ba", []string{"abba", "abcba"}, []string{"aba", "ab", "ba"}},
		{"*b*", []string{"b", "abc", "bb"}, []string{"", "ac"}},
		{"a*b*c", []string{"abc", "axbxc", "abcbc", "abbcc"}, []string{"ac", "acb", "abcd", "bc"}},
		{"*ab*ab", []string{"abab", "xabxab", "ababab"}, []string{"ab", "aab", "abb"}},
		{"*a*a*a*", []string{"aaa", "xaxaxax"}, []string{"aa", "axa"}},
		{"a.c", []string{"a.c"}, []string{"abc"}},
	}
	for _, tt := range tests {
		t.Run(tt.pattern, func(t *testing.T) {
			t.Parallel()
			p := patterns(t, tt.pattern)
			for _, id := range tt.yes {
				if !p.Allows(id) {
					t.Errorf("%q is not allowed", id)
				}
			}
			for _, id := range tt.no {
				if p.Allows(id) {
					t.Errorf("%q is allowed", id)
				}
			}
		})
	}
}

func TestAbsentAndEmptyPatternsDiffer(t *testing.T) {
	t.Parallel()
	var absent token.Patterns
	empty := patterns(t)

	if absent.Present() || !empty.Present() {
		t.Errorf("present: absent %v, empty %v", absent.Present(), empty.Present())
	}
	if absent.Allows("bob") || empty.Allows("bob") {
		t.Error("absent or empty patterns allow somebody")
	}
	if absent.List() != nil || empty.List() == nil {
		t.Errorf("lists: absent %#v, empty %#v", absent.List(), empty.List())
	}
	if absent.String() == empty.String() {
		t.Errorf("absent and empty both print as %s", absent)
	}
}

func TestAnyPatternOfTheListIsEnough(t *testing.T) {
	t.Parallel()
	p := patterns(t, "bob", "team.*")
	if !p.Allows("bob") || !p.Allows("team.a") || p.Allows("eve") {
		t.Errorf("%v allows the wrong ids", p)
	}
}

func TestPatternsAreNotChangedFromOutside(t *testing.T) {
	t.Parallel()
	given := []string{"bob"}
	p := patterns(t, given...)
	given[0] = "*"
	p.List()[0] = "*"
	if p.Allows("eve") {
		t.Error("the caller's slice reached into the patterns")
	}
}

func TestUnreasonablePatternsAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", token.MaxPatternLength)
	many := slices.Repeat([]string{"a"}, token.MaxPatterns)
	patterns(t, long)
	patterns(t, many...)
	tests := []struct {
		name string
		list []string
	}{
		{"empty", []string{""}},
		{"too long", []string{long + "a"}},
		{"too many", append(many, "a")},
		{"space", []string{"a b"}},
		{"question mark", []string{"a?"}},
		{"not ASCII", []string{"é"}},
		{"not UTF-8", []string{"\xff"}},
		{"line break in the second", []string{"a", "a\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := token.NewPatterns(tt.list...)
			if !errors.Is(err, token.ErrPattern) || p.Present() {
				t.Errorf("got %v, %v", p, err)
			}
		})
	}
}

// FuzzPatterns compares with the obvious matcher.
func FuzzPatterns(f *testing.F) {
	f.Add("a*b*c", "abcbc")
	f.Add("*ab*ab", "aab")
	f.Add("**", "")
	f.Add("ab*ba", "aba")
	f.Fuzz(func(t *testing.T, pattern, id string) {
		p, err := token.NewPatterns(pattern)
		if err != nil {
			return
		}
		if len(id) > 128 {
			id = id[:128]
		}
		if got, want := p.Allows(id), naiveMatch(pattern, id); got != want {
			t.Errorf("pattern %q, id %q: got %v, want %v", pattern, id, got, want)
		}
	})
}

// naiveMatch fills the textbook table: ok[j] says whether the pattern so far
// matches the first j bytes of id.
func naiveMatch(pattern, id string) bool {
	ok := make([]bool, len(id)+1)
	ok[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(id)+1)
		for j := range next {
			if pattern[i] == '*' {
				next[j] = ok[j] || j > 0 && next[j-1]
			} else {
				next[j] = j > 0 && ok[j-1] && pattern[i] == id[j-1]
			}
		}
		ok = next
	}
	return ok[len(id)]
}

func BenchmarkPatternsWorstCase(b *testing.B) {
	list := slices.Repeat([]string{strings.Repeat("a*", 60) + "b"}, token.MaxPatterns)
	p := patterns(b, list...)
	id := strings.Repeat("a", 128)
	for b.Loop() {
		p.Allows(id)
	}
}
