package token_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/services/token"
)

func TestPublicKeyCannotIssue(t *testing.T) {
	t.Parallel()
	for _, key := range []token.Key{publicKey(t, "", token.EdDSA), {}, {Algorithm: token.HS256}} {
		if signed, err := token.Issue(key, alice(), noon); !errors.Is(err, token.ErrKey) || signed != "" {
			t.Errorf("got %q, %v", signed, err)
		}
	}
}

func TestSenselessClaimsAreNotIssued(t *testing.T) {
	t.Parallel()
	key := newKey(t, "", token.HS256, secret)
	big := slices.Repeat([]string{strings.Repeat("a", token.MaxPatternLength)}, token.MaxPatterns)
	for name, c := range map[string]token.Claims{
		"no client":         {Expires: noon.Add(time.Hour)},
		"expired":           {Client: "alice", Expires: noon},
		"expired by cut":    {Client: "alice", Expires: noon.Add(time.Second / 2)},
		"after year 9999":   {Client: "alice", Expires: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"too large a token": {Client: "alice", Send: patterns(t, big...)},
	} {
		if signed, err := token.Issue(key, c, noon); !errors.Is(err, token.ErrClaims) || signed != "" {
			t.Errorf("%s: got %q, %v", name, signed, err)
		}
	}
}

func TestGeneratedKeysDiffer(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{token.HS256, token.ES256, token.EdDSA} {
		first, _, err := token.GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		second, public, err := token.GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		if string(first) == string(second) {
			t.Errorf("%s: the same key twice", alg)
		}
		if (alg == token.HS256) != (public == nil) {
			t.Errorf("%s: public file %q", alg, public)
		}
		if newKey(t, "", alg, second); alg != token.HS256 && newKey(t, "", alg, public).CanIssue() {
			t.Errorf("%s: the public file can issue", alg)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	for _, alg := range allAlgorithms {
		b.Run(alg, func(b *testing.B) {
			key := privateKey(b, "k1", alg)
			b.ReportAllocs()
			for b.Loop() {
				issue(b, key, alice())
			}
		})
	}
}
