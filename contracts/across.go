package contracts

import (
	"encoding/binary"
	"errors"
	"time"
)

// What a node asks another cluster, and what one of that cluster's nodes answers. Both are one NATS message:
//
//	query  = version(1) askerLen(1) asker address…
//	address = idLen+1 kind(1) id
//	reply  = version(1) peers peer… finding…       one finding for each address of the query, in its order
//	peer   = nodeLen(1) node epoch(8)
//	finding = 2 x entries + 1 if it is known, entry…
//	entry  = session(32) peer since
//
// Numbers are unsigned varints, epochs big-endian, since in milliseconds of Unix time. Node ids in a reply are those of its
// cluster, without its name; the asker's has its cluster's name. A reply without addresses to answer for tells who lives.

const presenceVersion = 1

// PresenceQuery asks another cluster where addresses are, at most [MaxPresenceQuery]; without addresses, which of its nodes live. Asker, a node of
// another cluster ([NodeID.In]), is then told of changes of these addresses for [WatchTTL].
type PresenceQuery struct {
	Asker     NodeID
	Addresses []Address
}

// PresenceReply answers a [PresenceQuery].
type PresenceReply struct {
	Peers    []Peer    // the nodes that live; only if there were no addresses
	Findings []Finding // one for each address
}

// Finding is where an address is, as one cluster knows it. If it is not Known, Entries are those that were found all the
// same. Entries have no Device.
type Finding struct {
	Known   bool
	Entries []Entry
}

// ErrPresence is returned for bytes that are no query, or no reply, of a version that this node knows.
var ErrPresence = errors.New("malformed presence message")

// Append appends the query to dst.
func (q PresenceQuery) Append(dst []byte) []byte {
	dst = append(dst, presenceVersion, byte(len(q.Asker)))
	dst = append(dst, q.Asker...)
	for _, a := range q.Addresses {
		dst = binary.AppendUvarint(dst, uint64(len(a.ID)+1))
		dst = append(append(dst, byte(a.Kind)), a.ID...)
	}
	return dst
}

// ReadPresenceQuery reads what [PresenceQuery.Append] wrote. The error is [ErrPresence].
func ReadPresenceQuery(b []byte) (PresenceQuery, error) {
	r, ok := newPresenceReader(b)
	if !ok {
		return PresenceQuery{}, ErrPresence
	}
	var q PresenceQuery
	name, ok := r.short()
	if !ok {
		return PresenceQuery{}, ErrPresence
	}
	var err error
	if q.Asker, err = ParseNodeName(name); err != nil || !q.Asker.Foreign() {
		return PresenceQuery{}, ErrPresence
	}
	for len(r.rest) > 0 {
		var a []byte
		if len(q.Addresses) == MaxPresenceQuery || !r.bytes(&a) || len(a) < 2 {
			return PresenceQuery{}, ErrPresence
		}
		kind := AddressKind(a[0])
		id, err := ParseClientID(a[1:]) // groups have the same alphabet
		if err != nil || kind != KindClient && kind != KindGroup {
			return PresenceQuery{}, ErrPresence
		}
		q.Addresses = append(q.Addresses, Address{kind, string(id)})
	}
	return q, nil
}

// Append appends the reply to dst. What would make it longer than [MaxBundle] is not known.
func (p PresenceReply) Append(dst []byte) []byte {
	dst = append(dst, presenceVersion)
	dst = binary.AppendUvarint(dst, uint64(len(p.Peers)))
	for _, x := range p.Peers {
		dst = appendPeer(dst, x)
	}
	for i, f := range p.Findings {
		if !f.Known && len(f.Entries) == 0 || !f.fits(len(dst)+len(p.Findings)-i) {
			dst = append(dst, 0)
			continue
		}
		known := uint64(0)
		if f.Known {
			known = 1
		}
		dst = binary.AppendUvarint(dst, uint64(len(f.Entries))<<1+known)
		for _, e := range f.Entries {
			dst = append(dst, e.Session...)
			dst = appendPeer(dst, Peer{e.Node, e.Epoch})
			dst = binary.AppendUvarint(dst, uint64(max(0, e.Since.UnixMilli())))
		}
	}
	return dst
}

// maxEntry bounds an entry in a reply, in bytes.
const maxEntry = SessionIDLength + 1 + MaxNodeIDLength + 8 + binary.MaxVarintLen64

func (f Finding) fits(used int) bool {
	return used+binary.MaxVarintLen64+len(f.Entries)*maxEntry <= MaxBundle
}

func appendPeer(dst []byte, p Peer) []byte {
	dst = append(append(dst, byte(len(p.Node))), p.Node...)
	return binary.BigEndian.AppendUint64(dst, uint64(p.Epoch))
}

// ReadPresenceReply reads what [PresenceReply.Append] wrote in answer to a query with that many addresses. The error is
// [ErrPresence].
func ReadPresenceReply(b []byte, addresses int) (PresenceReply, error) {
	r, ok := newPresenceReader(b)
	var p PresenceReply
	var peers uint64
	if !ok || !r.uvarint(&peers) {
		return p, ErrPresence
	}
	for range peers {
		x, ok := r.peer()
		if !ok {
			return PresenceReply{}, ErrPresence
		}
		p.Peers = append(p.Peers, x)
	}
	p.Findings = make([]Finding, addresses)
	for i := range p.Findings {
		if !r.finding(&p.Findings[i]) {
			return PresenceReply{}, ErrPresence
		}
	}
	if len(r.rest) > 0 {
		return PresenceReply{}, ErrPresence
	}
	return p, nil
}

// presenceReader reads with the parts of a [BundleReader].
type presenceReader struct{ BundleReader }

func newPresenceReader(b []byte) (*presenceReader, bool) {
	if len(b) < 2 || b[0] != presenceVersion {
		return nil, false
	}
	return &presenceReader{BundleReader{rest: b[1:]}}, true
}

// short reads bytes whose length is one byte.
func (r *presenceReader) short() ([]byte, bool) {
	if len(r.rest) < 1 || len(r.rest) < 1+int(r.rest[0]) {
		return nil, false
	}
	n := 1 + int(r.rest[0])
	b := r.rest[1:n]
	r.rest = r.rest[n:]
	return b, true
}

func (r *presenceReader) peer() (Peer, bool) {
	name, ok := r.short()
	if !ok || len(r.rest) < 8 {
		return Peer{}, false
	}
	n, err := ParseNodeID(name)
	epoch := Epoch(binary.BigEndian.Uint64(r.rest))
	r.rest = r.rest[8:]
	return Peer{n, epoch}, err == nil
}

func (r *presenceReader) finding(f *Finding) bool {
	var n uint64
	if !r.uvarint(&n) {
		return false
	}
	f.Known = n&1 == 1
	for range n >> 1 {
		if len(r.rest) < SessionIDLength {
			return false
		}
		session, err := ParseSessionID(r.rest[:SessionIDLength])
		r.rest = r.rest[SessionIDLength:]
		var since uint64
		p, ok := r.peer()
		if err != nil || !ok || !r.uvarint(&since) || since > 1<<53 {
			return false
		}
		f.Entries = append(f.Entries, Entry{Session: session, Node: p.Node, Epoch: p.Epoch, Since: time.UnixMilli(int64(since))})
	}
	return true
}
