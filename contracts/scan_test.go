package contracts

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"unicode/utf8"
)

// depthOf returns how deeply valid JSON nests.
func depthOf(valid []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(valid); i++ {
		switch c := valid[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// FuzzScan holds the scanner to the verdict of encoding/json. They differ in what is written down, and only there: the
// scanner stops at its depth, and ValidData also refuses line breaks and what is not UTF-8.
func FuzzScan(f *testing.F) {
	for _, c := range readCases[requestCase](f, "requests.jsonl") {
		f.Add([]byte(c.Line))
	}
	for _, s := range []string{
		"0", "-0", "01", "1.", ".5", "1e5", "1E+5", "1e", "-", "+1", "tru", "true", "nullx", "[1,]", "[,1]", "{\"a\":}", "{\"a\" 1}",
		"{,}", "[}", "{]", "\"\\u12G4\"", "\"\\u123", "\"\\", "\"\xff\"", "[\n1]", " 1 ", "1 1", "\x7f", "\"\x7f\"", "\u00a01",
		nested(MaxDepth), nested(MaxDepth + 1), nestedObjects(MaxDepth), nestedObjects(MaxDepth + 1), "[[[", "{\"a\":[{\"b\":[",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		valid := json.Valid(b)
		want := valid && depthOf(b) <= MaxDepth
		end := scanValue(b, 0, MaxDepth)
		if end > len(b) {
			t.Fatalf("the scan ended beyond the input, at %d of %d", end, len(b))
		}
		if got := end >= 0 && skipSpace(b, end) == len(b); got != want {
			t.Fatalf("scanValue says %v, encoding/json %v, depth %d: %q", got, valid, depthOf(b), b)
		}
		wantData := want && bytes.IndexByte(b, '\n') < 0 && utf8.Valid(b)
		if got := ValidData(b); got != wantData {
			t.Fatalf("ValidData says %v, want %v: %q", got, wantData, b)
		}
		if start := skipSpace(b, 0); want && b[start] == '{' {
			checkMembers(t, b)
		}
	})
}

// checkMembers compares the members that scanObject finds in an object with those of encoding/json.
func checkMembers(t *testing.T, b []byte) {
	t.Helper()
	members := make([]member, 4)
	n, end := scanObject(b, 0, members)
	if end < 0 || skipSpace(b, end) != len(b) {
		t.Fatalf("scanObject refuses an object: %q", b)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	_, _ = d.Token()
	for i := range n {
		name, err := d.Token()
		if err != nil {
			t.Fatalf("member %d of %d: %v", i, n, err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
		if i >= len(members) {
			continue
		}
		var raw string
		if err := json.Unmarshal(b[nameStart(b, members[i]):nameStart(b, members[i])+len(members[i].name)+2], &raw); err != nil || raw != name {
			t.Fatalf("name %d is %q, not %q: %v", i, members[i].name, name, err)
		}
		if !bytes.Equal(members[i].value, value) {
			t.Fatalf("value %d is %q, not %q", i, members[i].value, value)
		}
	}
	if _, err := d.Token(); err != nil {
		t.Fatalf("after %d members: %v", n, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("encoding/json finds more than %d members", n)
	}
}

// nameStart returns where the quoted name of m starts in b, which m.name is a view of.
func nameStart(b []byte, m member) int { return cap(b) - cap(m.name) - 1 }
