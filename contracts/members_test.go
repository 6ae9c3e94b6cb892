package contracts

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestMembersQueryAndNamesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	long := ClientID(strings.Repeat("x", MaxIDLength))
	for _, q := range []MembersQuery{{"room", "", 1}, {"room", long, MaxMembers}} {
		if got, ok := ReadMembersQuery(q.Group, q.AppendData(nil)); !ok || got != q {
			t.Errorf("%+v became %+v, %v", q, got, ok)
		}
	}
	for _, names := range [][]ClientID{nil, {"bob"}, {"bob", long}} {
		if got, ok := ReadNames(AppendNames(nil, names)); !ok || !slices.Equal(got, names) {
			t.Errorf("%v became %v, %v", names, got, ok)
		}
	}
}

func FuzzReadMembers(f *testing.F) {
	f.Add(MembersQuery{"room", "bob", 7}.AppendData(nil))
	f.Add(AppendNames(nil, []ClientID{"ann", "bob"}))
	f.Add([]byte{0xff, 1, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		if q, ok := ReadMembersQuery("room", data); ok && (q.Limit < 1 || q.Limit > MaxMembers) {
			t.Fatalf("limit %d", q.Limit)
		}
		if names, ok := ReadNames(data); ok && !bytes.Equal(AppendNames(nil, names), data) {
			t.Fatalf("%v is not %x", names, data)
		}
	})
}
