package contracts

import "crypto/sha256"

// AddressKind tells what an address names.
type AddressKind byte

// The kinds of address, as they stand in keys and bundles.
const (
	KindClient AddressKind = 'c'
	KindGroup  AddressKind = 'g'
)

// Address is what messages are sent to: a client or a group. The directory answers the same question for both: which nodes
// hold it? A client's entries are its sessions; a group's are the nodes that have members of it. It is comparable.
type Address struct {
	Kind AddressKind
	ID   string // a [ClientID] or a [GroupName]
}

// GroupName names a group: the alphabet and bounds are those of [ClientID].
type GroupName string

// ParseGroupName checks a group name that came from outside; see [ParseClientID].
func ParseGroupName[T ~string | ~[]byte](s T) (GroupName, error) {
	id, err := ParseClientID(s)
	return GroupName(id), err
}

// Address returns the client as an address.
func (id ClientID) Address() Address { return Address{KindClient, string(id)} }

// Address returns the group as an address.
func (g GroupName) Address() Address { return Address{KindGroup, string(g)} }

// Token is an id as it may stand in a key: the first 130 bits of its SHA-256 in base32hex. Whatever the id is, a token
// has 26 bytes of `0-9 a-v`, so that no id can reach beyond its own key, and a store holds no names.
type Token string

// Token returns the address's token, without its kind. It is safe for concurrent use and costs about 0.2 us.
func (a Address) Token() Token {
	sum := sha256.Sum256([]byte(a.ID))
	var dst [32]byte
	tokenEncoding.Encode(dst[:], sum[:20])
	return Token(dst[:26])
}

// Shard returns which of a node's [Shards] subjects carries what is meant for this address: FNV-1a, so that every
// node computes the same.
func (a Address) Shard() int {
	h := uint32(2166136261)
	for i := range len(a.ID) {
		h = (h ^ uint32(a.ID[i])) * 16777619
	}
	return int((h ^ h>>16) % Shards)
}
