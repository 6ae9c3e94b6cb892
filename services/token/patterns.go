package token

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds of [Patterns], so that one permission check costs little whatever an
// issuer puts into a token.
const (
	MaxPatterns      = 64
	MaxPatternLength = 256
)

// Patterns says which ids are allowed. In a pattern, * stands for any run of
// characters, the empty one included; every other character stands for itself.
//
// The zero value is absent, which is not the same as present and empty: absent
// leaves the decision to a default (see [Patterns.Present]), empty allows nothing.
type Patterns struct {
	list    []string
	present bool
}

// NewPatterns returns the patterns of a list; without arguments, the present and
// empty ones that allow nothing. It returns [ErrPattern] when there are more than
// [MaxPatterns], or when one is empty, longer than [MaxPatternLength], or holds a
// character other than * and those of ids.
func NewPatterns(list ...string) (Patterns, error) {
	if len(list) > MaxPatterns {
		return Patterns{}, fmt.Errorf("%w: more than %d of them", ErrPattern, MaxPatterns)
	}
	for i, p := range list {
		if p == "" || len(p) > MaxPatternLength {
			return Patterns{}, fmt.Errorf("%w: number %d is not 1 to %d bytes long", ErrPattern, i+1, MaxPatternLength)
		}
		// The pattern is not quoted in the error: it may come from a token.
		if strings.ContainsFunc(p, func(r rune) bool { return r != '*' && !idRune(r) }) {
			return Patterns{}, fmt.Errorf("%w: number %d has a character other than A-Z a-z 0-9 . _ : @ - *", ErrPattern, i+1)
		}
	}
	return Patterns{list: slices.Clone(list), present: true}, nil
}

// idRune reports whether r may appear in a client id or a group name.
func idRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
		strings.ContainsRune("._:@-", r)
}

// Present reports whether there is a list at all.
func (p Patterns) Present() bool { return p.present }

// List returns a copy of the patterns: nil when they are absent, and an empty
// slice that is not nil when none are allowed.
func (p Patterns) List() []string {
	if !p.present {
		return nil
	}
	return append([]string{}, p.list...)
}

// String is for logs and people.
func (p Patterns) String() string {
	if !p.present {
		return "absent"
	}
	return fmt.Sprintf("%q", p.list)
}

// Allows reports whether any pattern matches the whole of id. Absent patterns
// allow nothing: whoever forgets the default errs on the safe side.
func (p Patterns) Allows(id string) bool {
	for _, pattern := range p.list {
		if match(pattern, id) {
			return true
		}
	}
	return false
}

// match reports whether pattern matches the whole of id. Between the literal at
// the start and the literal at the end, each literal is taken where it is first
// found; with * as the only wildcard an earlier place is never worse than a later
// one, so there is no going back and the time is linear.
func match(pattern, id string) bool {
	prefix, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == id
	}
	id, ok := strings.CutPrefix(id, prefix)
	if !ok {
		return false
	}
	for {
		literal, next, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(id, literal)
		}
		at := strings.Index(id, literal)
		if at < 0 {
			return false
		}
		id, rest = id[at+len(literal):], next
	}
}
