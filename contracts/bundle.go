package contracts

import (
	"encoding/binary"
	"errors"
)

// A bundle is one NATS message between two nodes:
//
//	bundle = version(1) nodeLen(1) node epoch(8) record…
//	record = 1 seq toLen to frameLen frame     a message for a client, to be answered
//	       | 2 epoch(8) seq status(1)          the answer to one of the receiver's records
//	       | 3 seq toLen to session(32) code   end that session of a client, to be answered
//	       | 4 seq toLen to frameLen frame     a message for a group, to be answered
//	       | 5 seq toLen kind(1) to            forget where this address is, to be answered
//	       | 6 seq toLen kind(1) to            is this address there?, to be answered
//	       | 7 seq toLen to dataLen data       who is in this group there?, to be answered by 8
//	       | 8 epoch(8) seq dataLen data       the answer to one of the receiver's records that asks for data
//	       | 9 seq                             forget where all addresses are, to be answered
//
// node is who sends it, as the receiver calls it: with its cluster, if that is another one.
// seq, the lengths and code are unsigned varints, epochs big-endian. A record's seq counts up by one from bundle to
// bundle for each pair of nodes and shard; the answers to it come back on the same shard, with the epoch of the node
// that asked, so that a restarted node takes no answer for its own that was meant for its predecessor.
// There are no NATS headers: they cost 2.5 times a plain publish.

const bundleVersion = 1

// RecordKind tells what a record is.
type RecordKind uint8

// The kinds of record.
const (
	RecordMessage RecordKind = 1
	RecordAnswer  RecordKind = 2
	RecordEnd     RecordKind = 3
	RecordGroup   RecordKind = 4
	RecordChanged RecordKind = 5
	RecordProbe   RecordKind = 6
	RecordMembers RecordKind = 7
	RecordData    RecordKind = 8
	RecordForget  RecordKind = 9
)

// Record is one decoded record. Frame is a view of the bundle; To is not.
type Record struct {
	Kind    RecordKind
	Seq     uint64
	To      Address   // all but RecordAnswer, RecordData and RecordForget
	Frame   []byte    // RecordMessage, RecordGroup: what the client gets, as [EncodeMsg] made it, with its line break
	Data    []byte    // RecordMembers: see [MembersQuery]; RecordData: see [AppendNames]
	Epoch   Epoch     // RecordAnswer, RecordData: of the node that is answered
	Status  Status    // RecordAnswer
	Session SessionID // RecordEnd
	Code    CloseCode // RecordEnd
}

// ErrBundle is returned for bytes that are not a bundle of a version that this node knows.
var ErrBundle = errors.New("malformed node bundle")

// AppendBundle starts a bundle in dst: the header that says who sends it.
func AppendBundle(dst []byte, from NodeID, epoch Epoch) []byte {
	dst = append(dst, bundleVersion, byte(len(from)))
	dst = append(dst, from...)
	return binary.BigEndian.AppendUint64(dst, uint64(epoch))
}

// AppendRecord appends r to a bundle.
func AppendRecord(dst []byte, r Record) []byte {
	dst = append(dst, byte(r.Kind))
	if r.Kind == RecordAnswer {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Epoch))
		dst = binary.AppendUvarint(dst, r.Seq)
		return append(dst, byte(r.Status))
	}
	if r.Kind == RecordData {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Epoch))
		dst = binary.AppendUvarint(dst, r.Seq)
		dst = binary.AppendUvarint(dst, uint64(len(r.Data)))
		return append(dst, r.Data...)
	}
	dst = binary.AppendUvarint(dst, r.Seq)
	if r.Kind == RecordForget {
		return dst
	}
	if r.Kind == RecordChanged || r.Kind == RecordProbe {
		dst = binary.AppendUvarint(dst, uint64(len(r.To.ID)+1))
		dst = append(dst, byte(r.To.Kind))
		return append(dst, r.To.ID...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.To.ID)))
	dst = append(dst, r.To.ID...)
	if r.Kind == RecordEnd {
		dst = append(dst, r.Session...)
		return binary.AppendUvarint(dst, uint64(r.Code))
	}
	if r.Kind == RecordMembers {
		dst = binary.AppendUvarint(dst, uint64(len(r.Data)))
		return append(dst, r.Data...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Frame)))
	return append(dst, r.Frame...)
}

// RecordSize bounds what [AppendRecord] adds for r, in bytes.
func RecordSize(r Record) int {
	return 1 + binary.MaxVarintLen64 + 2*binary.MaxVarintLen32 + 8 + len(r.To.ID) + len(r.Frame) + len(r.Data) + len(r.Session)
}

// BundleReader reads the records of a bundle one after the other. It is for one goroutine.
type BundleReader struct {
	From  NodeID
	Epoch Epoch
	rest  []byte
}

// ReadBundle reads a bundle's header. The records are views of b.
func ReadBundle(b []byte) (BundleReader, error) {
	if len(b) < 2 || b[0] != bundleVersion {
		return BundleReader{}, ErrBundle
	}
	n := int(b[1])
	if len(b) < 2+n+8 {
		return BundleReader{}, ErrBundle
	}
	from, err := ParseNodeName(b[2 : 2+n])
	if err != nil {
		return BundleReader{}, ErrBundle
	}
	b = b[2+n:]
	return BundleReader{From: from, Epoch: Epoch(binary.BigEndian.Uint64(b)), rest: b[8:]}, nil
}

// Next reads the next record into r and tells whether there was one. After [ErrBundle] the rest is lost.
func (b *BundleReader) Next(r *Record) (bool, error) {
	if len(b.rest) == 0 {
		return false, nil
	}
	*r = Record{Kind: RecordKind(b.rest[0])}
	b.rest = b.rest[1:]
	var ok bool
	switch r.Kind {
	case RecordAnswer:
		ok = b.answer(r)
	case RecordMessage, RecordGroup:
		ok = b.address(r) && b.bytes(&r.Frame) && len(r.Frame) > 1 && r.Frame[len(r.Frame)-1] == '\n'
	case RecordEnd:
		ok = b.address(r) && b.end(r)
	case RecordChanged, RecordProbe:
		ok = b.address(r)
	case RecordForget:
		ok = b.uvarint(&r.Seq)
	case RecordMembers:
		ok = b.address(r) && b.bytes(&r.Data)
	case RecordData:
		ok = b.epoch(r) && b.bytes(&r.Data)
	}
	if !ok {
		b.rest = nil
		return false, ErrBundle
	}
	return true, nil
}

// epoch reads whom an answer is for, and to which of its records.
func (b *BundleReader) epoch(r *Record) bool {
	if len(b.rest) < 8 {
		return false
	}
	r.Epoch = Epoch(binary.BigEndian.Uint64(b.rest))
	b.rest = b.rest[8:]
	return b.uvarint(&r.Seq)
}

func (b *BundleReader) answer(r *Record) bool {
	if !b.epoch(r) || len(b.rest) < 1 {
		return false
	}
	r.Status = Status(b.rest[0])
	b.rest = b.rest[1:]
	return r.Status >= StatusDelivered && r.Status <= StatusOverload
}

func (b *BundleReader) address(r *Record) bool {
	var to []byte
	if !b.uvarint(&r.Seq) || !b.bytes(&to) {
		return false
	}
	kind := KindClient
	switch r.Kind {
	case RecordGroup, RecordMembers:
		kind = KindGroup
	case RecordChanged, RecordProbe:
		if len(to) == 0 {
			return false
		}
		kind, to = AddressKind(to[0]), to[1:]
	}
	id, err := ParseClientID(to) // groups have the same alphabet
	r.To = Address{kind, string(id)}
	return err == nil && (kind == KindClient || kind == KindGroup)
}

func (b *BundleReader) end(r *Record) bool {
	var code uint64
	if len(b.rest) < SessionIDLength {
		return false
	}
	session, err := ParseSessionID(b.rest[:SessionIDLength])
	b.rest = b.rest[SessionIDLength:]
	if err != nil || !b.uvarint(&code) || code < 1000 || code > 4999 {
		return false
	}
	r.Session, r.Code = session, CloseCode(code)
	return true
}

func (b *BundleReader) uvarint(v *uint64) bool {
	x, n := binary.Uvarint(b.rest)
	if n <= 0 {
		return false
	}
	*v, b.rest = x, b.rest[n:]
	return true
}

func (b *BundleReader) bytes(v *[]byte) bool {
	var n uint64
	if !b.uvarint(&n) || n > uint64(len(b.rest)) {
		return false
	}
	*v, b.rest = b.rest[:n:n], b.rest[n:]
	return true
}
