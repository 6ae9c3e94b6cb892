package contracts

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	clientPattern  = regexp.MustCompile(`^[A-Za-z0-9._:@-]{1,128}\z`)
	nodePattern    = regexp.MustCompile(`^[a-z0-9-]{1,32}\z`)
	sessionPattern = regexp.MustCompile(`^[0-9a-f]{32}\z`)
	tokenPattern   = regexp.MustCompile(`^[0-9a-v]{26}\z`)
	subjectPattern = regexp.MustCompile(`^[a-z0-9-]+\.node\.[a-z0-9-]+\.[0-9]\z`)
	keyPattern     = regexp.MustCompile(`^bl:[a-z0-9-]+:c:\{[0-9a-v]{26}\}\z`)
	leasePattern   = regexp.MustCompile(`^bl:[a-z0-9-]+:lease:\{[a-z0-9-]+\}\z`)
)

func TestSessionIDsAreRandomAndValid(t *testing.T) {
	t.Parallel()
	seen := map[SessionID]bool{}
	for range 1000 {
		id := NewSessionID()
		if _, err := ParseSessionID(id); err != nil || seen[id] {
			t.Fatalf("%s: %v, seen before: %v", id, err, seen[id])
		}
		seen[id] = true
	}
}

func TestEveryShardGetsItsShare(t *testing.T) {
	t.Parallel()
	const clients = 10_000
	var count [Shards]int
	for i := range clients {
		count[ClientID(fmt.Sprintf("user-%d", i)).Address().Shard()]++
	}
	for shard, n := range count {
		if n < clients/Shards*8/10 || n > clients/Shards*12/10 {
			t.Errorf("shard %d has %d of %d clients", shard, n, clients)
		}
	}
}

func TestEpochsSurviveTheDirectory(t *testing.T) {
	t.Parallel()
	for _, e := range []Epoch{0, 1, math.MaxUint64} {
		if got, err := ParseEpoch(e.String()); err != nil || got != e {
			t.Errorf("%s: %v, %v", e, got, err)
		}
	}
	for _, s := range []string{"", "1", "0x00000000000001", "+000000000000001", "00000000000000000", "000000000000000g"} {
		if _, err := ParseEpoch(s); err == nil {
			t.Errorf("%q is taken for an epoch", s)
		}
	}
}

func TestEveryOutcomeIsListedOnce(t *testing.T) {
	t.Parallel()
	all := []Outcome{Delivered, Sent, Offline, Unknown, Unavailable, RateLimited, Forbidden, BadRequest}
	sorted := slices.Sorted(slices.Values(Outcomes))
	if want := slices.Sorted(slices.Values(all)); !slices.Equal(sorted, want) {
		t.Errorf("%v, not %v", sorted, want)
	}
}

// FuzzParseIDs holds that no id reaches beyond its own subject and key, whatever its bytes, and that two ids never share a
// token.
func FuzzParseIDs(f *testing.F) {
	for _, c := range readCases[nameCase](f, "names.jsonl") {
		f.Add(c.Client, c.Node)
	}
	f.Add("00112233445566778899aabbccddeeff", "00112233445566778899AABBCCDDEEFF")
	f.Add("a\xff", "a\xfe")
	f.Fuzz(func(t *testing.T, one, other string) {
		for _, s := range []string{one, other} {
			checkIDs(t, s)
		}
		a, b := ClientID(one).Address().Token(), ClientID(other).Address().Token()
		if (a == b) != (one == other) {
			t.Fatalf("%q and %q have the tokens %s and %s", one, other, a, b)
		}
		if fromBytes, err := ParseClientID([]byte(one)); err == nil && string(fromBytes) != one {
			t.Fatalf("%q became %q", one, fromBytes)
		}
	})
}

func checkIDs(t *testing.T, s string) {
	t.Helper()
	_, clientErr := ParseClientID(s)
	if got, want := clientErr == nil, clientPattern.MatchString(s); got != want {
		t.Fatalf("ParseClientID(%q) accepts: %v", s, got)
	}
	if _, err := ParseSessionID(s); (err == nil) != sessionPattern.MatchString(s) {
		t.Fatalf("ParseSessionID(%q): %v", s, err)
	}
	token, shard := ClientID(s).Address().Token(), ClientID(s).Address().Shard() // of any bytes, checked or not
	if !tokenPattern.MatchString(string(token)) || shard < 0 || shard >= Shards {
		t.Fatalf("%q has the token %q and the shard %d", s, token, shard)
	}
	if key := RecordKey("a", ClientID(s).Address()); !keyPattern.MatchString(string(key)) {
		t.Fatalf("%q has the key %q", s, key)
	}
	node, err := ParseNodeID(s)
	cluster, err2 := ParseClusterName(s)
	if want := nodePattern.MatchString(s); (err == nil) != want || (err2 == nil) != want {
		t.Fatalf("ParseNodeID(%q): %v, ParseClusterName: %v", s, err, err2)
	}
	if err != nil {
		return
	}
	if subject := NodeSubject(cluster, node, shard); !subjectPattern.MatchString(string(subject)) {
		t.Fatalf("%q has the subject %q", s, subject)
	}
	if n := strings.Count(string(ReturnWildcard(cluster, node)), "."); n != 3 {
		t.Fatalf("%q has the subject %q", s, ReturnWildcard(cluster, node))
	}
	if key := LeaseKey(cluster, node); !leasePattern.MatchString(string(key)) {
		t.Fatalf("%q has the key %q", s, key)
	}
}

// FuzzParseReturn holds what comes back on a reply subject: nothing makes the parser panic, and what it accepts is what
// AppendReturn would have written.
func FuzzParseReturn(f *testing.F) {
	prefix := ReturnPrefix("a", "a1")
	for _, n := range []int{0, 1, 35, 36, 1 << 16} {
		f.Add(string(AppendReturn(nil, prefix, "b-2", Shards-1, math.MaxUint64, n)))
	}
	for _, s := range []string{
		"", ".", "a", "a.returned.a1.", "a.returned.a1.b.0.1", "a.returned.a1.b.0.1.1.1", "a.returned.a1.b.4.1.1", "a.returned.a1.b.-1.1.1",
		"a.returned.a1.b.0.1.zzzzz", "a.returned.a1.b.0.3w5e11264sgsg.1", "a.returned.a1..0.1.1", "a.returned.a1.B.0.1.1", "b.returned.a1.b.0.1.1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		to, shard, first, n, ok := ParseReturn(s, prefix)
		if !ok {
			if to != "" || shard != 0 || first != 0 || n != 0 {
				t.Fatalf("refused, but with %s %d %d %d", to, shard, first, n)
			}
			return
		}
		if shard < 0 || shard >= Shards || n < 0 {
			t.Fatalf("shard %d, %d records", shard, n)
		}
		written := string(AppendReturn(nil, prefix, to, shard, first, n))
		to2, shard2, first2, n2, ok := ParseReturn(written, prefix)
		if !ok || to2 != to || shard2 != shard || first2 != first || n2 != n {
			t.Fatalf("%q became %q", s, written)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ClientID("user-000042").Address().Token()
	}
}
