package contracts

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var records = []Record{
	{Kind: RecordMessage, Seq: math.MaxUint64, To: ClientID(strings.Repeat("x", MaxIDLength)).Address(), Frame: []byte("frame\n")},
	{Kind: RecordMessage, To: ClientID("a").Address(), Frame: []byte("1\n")},
	{Kind: RecordGroup, Seq: 7, To: GroupName("room").Address(), Frame: []byte("frame\n")},
	{Kind: RecordChanged, Seq: 8, To: GroupName(strings.Repeat("x", MaxIDLength)).Address()},
	{Kind: RecordProbe, Seq: 9, To: ClientID("bob").Address()},
	{Kind: RecordAnswer, Seq: math.MaxUint64, Epoch: math.MaxUint64, Status: StatusOverload},
	{Kind: RecordEnd, Seq: math.MaxUint64, To: ClientID(strings.Repeat("x", MaxIDLength)).Address(), Session: NewSessionID(), Code: 4999},
}

func TestRecordSizeIsNeverLessThanARecordTakes(t *testing.T) {
	t.Parallel()
	for _, r := range records {
		if got, bound := len(AppendRecord(nil, r)), RecordSize(r); got > bound {
			t.Errorf("%+v takes %d bytes, more than %d", r, got, bound)
		}
	}
}

func TestTheLargestFrameFitsIntoABundle(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("1"), MaxMaxFrame)
	r := Record{Kind: RecordMessage, Seq: math.MaxUint64, To: records[0].To, Frame: EncodeMsg(ClientID(records[0].To.ID), data)}
	header := AppendBundle(nil, NodeID(strings.Repeat("n", MaxNodeIDLength)), 1)
	if n := len(header) + RecordSize(r); n > MaxBundle {
		t.Errorf("%d bytes", n)
	}
}

func TestARecordsFrameCannotBeAppendedInto(t *testing.T) {
	t.Parallel()
	b := AppendBundle(nil, "a1", 1)
	for _, r := range records[:2] {
		b = AppendRecord(b, r)
	}
	before := bytes.Clone(b)
	_, read, err := readBundle(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(read[0].Frame, "overwritten"...)
	if !bytes.Equal(b, before) {
		t.Error("appending to a frame wrote over the next record")
	}
}

func TestAfterAMalformedRecordTheRestIsLost(t *testing.T) {
	t.Parallel()
	b := AppendRecord(AppendBundle(nil, "a1", 1), records[1])
	b = AppendRecord(append(b, 99), records[1])
	bundle, err := ReadBundle(b)
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	if ok, err := bundle.Next(&r); !ok || err != nil {
		t.Fatalf("first record: %v, %v", ok, err)
	}
	if ok, err := bundle.Next(&r); ok || !errors.Is(err, ErrBundle) {
		t.Errorf("malformed record: %v, %v", ok, err)
	}
	if ok, err := bundle.Next(&r); ok || err != nil {
		t.Errorf("after it: %v, %v", ok, err)
	}
}

// FuzzReadBundle holds what another node, or whoever can publish on NATS, can send: no bytes make the reader panic, and
// what it reads can be written and read again.
func FuzzReadBundle(f *testing.F) {
	for _, c := range readCases[bundleCase](f, "bundles.jsonl") {
		f.Add(mustHex(f, c.Hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bundle, read, err := readBundle(b)
		if err != nil && !errors.Is(err, ErrBundle) {
			t.Fatal(err)
		}
		if bundle.From == "" {
			return
		}
		again := AppendBundle(nil, bundle.From, bundle.Epoch)
		for _, r := range read {
			n := len(again)
			again = AppendRecord(again, r)
			if len(again)-n > RecordSize(r) {
				t.Fatalf("%+v takes %d bytes, more than %d", r, len(again)-n, RecordSize(r))
			}
		}
		if len(again) > len(b) {
			t.Fatalf("written again it has %d bytes, not %d", len(again), len(b))
		}
		second, reread, err := readBundle(again)
		if err != nil || second.From != bundle.From || second.Epoch != bundle.Epoch || !reflect.DeepEqual(reread, read) {
			t.Fatalf("%+v became %+v: %v", read, reread, err)
		}
	})
}

func BenchmarkAppendRecord(b *testing.B) {
	r := Record{Kind: RecordMessage, Seq: 1 << 20, To: ClientID("user-000042").Address(), Frame: send128}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRecord(buf[:0], r)
	}
}

// BenchmarkNext reads bundles of 64 messages; the figures are for one of them.
func BenchmarkNext(b *testing.B) {
	const n = 64
	bundle := AppendBundle(nil, "a1", 1)
	for seq := range uint64(n) {
		bundle = AppendRecord(bundle, Record{Kind: RecordMessage, Seq: seq, To: ClientID("user-000042").Address(), Frame: append(slices.Clone(send128), 10)})
	}
	b.ReportAllocs()
	var (
		reader BundleReader
		r      Record
		left   int
	)
	for b.Loop() {
		if left == 0 {
			reader, _ = ReadBundle(bundle)
			left = n
		}
		left--
		if ok, err := reader.Next(&r); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
