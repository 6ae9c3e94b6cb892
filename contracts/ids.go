package contracts

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ClientID names a client: 1 to [MaxIDLength] bytes of `A-Z a-z 0-9 . _ : @ -`.
// A client may have many sessions, on many nodes.
type ClientID string

// NodeID names a node: 1 to [MaxNodeIDLength] bytes of `a-z 0-9 -`, unique in its cluster. Among the nodes of one cluster,
// one of another is called `<cluster>.<node>`; see [NodeID.In].
// It is the one kind of id that stands in a NATS subject as it is, which its alphabet makes safe.
type NodeID string

// In returns what the nodes of other clusters call a node of this one.
func (n NodeID) In(c ClusterName) NodeID { return NodeID(c) + "." + n }

// Foreign tells whether the id is that of a node of another cluster.
func (n NodeID) Foreign() bool { return strings.Contains(string(n), ".") }

// Split returns the cluster of a node, and what it is called there. home is where one without a cluster is.
func (n NodeID) Split(home ClusterName) (ClusterName, NodeID) {
	if c, id, ok := strings.Cut(string(n), "."); ok {
		return ClusterName(c), NodeID(id)
	}
	return home, n
}

// ClusterName names a cluster; the alphabet and bound are those of [NodeID].
type ClusterName string

// SessionID names one connection of a client: 32 hexadecimal digits, 128 random bits chosen by the edge.
type SessionID string

// Epoch tells one start of a node, or of an instance of a service, from the next: no two starts under one id have the same, and the later
// one has the higher.
type Epoch uint64

// ErrInvalidID is wrapped by every error about an id that is empty, too long or has a byte outside its alphabet.
var ErrInvalidID = errors.New("invalid id")

const alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyz"

// idBytes marks the bytes that a client id may have. None of them is special to NATS, Redis, JSON or a log.
var idBytes = alphabet(alphanumeric + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "._:@-")

// nodeBytes marks the bytes of node ids and cluster names.
var nodeBytes = alphabet(alphanumeric + "-")

func alphabet(chars string) (marked [256]bool) {
	for i := range len(chars) {
		marked[chars[i]] = true
	}
	return marked
}

// ParseClientID checks an id that came from outside. Its error is [ErrInvalidID] and never repeats the id:
// the id may be anything, and the error may be logged.
func ParseClientID[T ~string | ~[]byte](s T) (ClientID, error) {
	if err := checkID(s, &idBytes, MaxIDLength); err != nil {
		return "", err
	}
	return ClientID(s), nil
}

// ParseNodeID checks a node id that came from configuration or from another node.
func ParseNodeID[T ~string | ~[]byte](s T) (NodeID, error) {
	if err := checkID(s, &nodeBytes, MaxNodeIDLength); err != nil {
		return "", err
	}
	return NodeID(s), nil
}

// ParseNodeName checks a node id that may be that of a node of another cluster; see [NodeID.In].
func ParseNodeName[T ~string | ~[]byte](s T) (NodeID, error) {
	name := string(s)
	cluster, node, foreign := strings.Cut(name, ".")
	if !foreign {
		return ParseNodeID(name)
	}
	if _, err := ParseClusterName(cluster); err != nil {
		return "", err
	}
	if _, err := ParseNodeID(node); err != nil {
		return "", err
	}
	return NodeID(name), nil
}

// ParseClusterName checks a cluster's name.
func ParseClusterName[T ~string | ~[]byte](s T) (ClusterName, error) {
	if err := checkID(s, &nodeBytes, MaxNodeIDLength); err != nil {
		return "", err
	}
	return ClusterName(s), nil
}

func checkID[T ~string | ~[]byte](s T, allowed *[256]bool, limit int) error {
	switch {
	case len(s) == 0:
		return fmt.Errorf("%w: it is empty", ErrInvalidID)
	case len(s) > limit:
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalidID, len(s), limit)
	}
	for i := range len(s) {
		if !allowed[s[i]] {
			return fmt.Errorf("%w: byte %d (0x%02x) is not allowed", ErrInvalidID, i+1, s[i])
		}
	}
	return nil
}

// NewSessionID returns 128 random bits, so that a session cannot be guessed.
func NewSessionID() SessionID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return SessionID(hex.EncodeToString(b[:]))
}

// ParseSessionID checks a session id that was read from the directory or from another node.
func ParseSessionID[T ~string | ~[]byte](s T) (SessionID, error) {
	if len(s) != SessionIDLength {
		return "", fmt.Errorf("%w: a session id has %d digits, not %d", ErrInvalidID, SessionIDLength, len(s))
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("%w: a session id is hexadecimal, in lower case", ErrInvalidID)
		}
	}
	return SessionID(s), nil
}

// String returns the epoch as the 16 hexadecimal digits that stand in the directory.
func (e Epoch) String() string { return fmt.Sprintf("%016x", uint64(e)) }

// ParseEpoch reads what [Epoch.String] wrote.
func ParseEpoch(s string) (Epoch, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 {
		return 0, fmt.Errorf("%w: an epoch has 16 hexadecimal digits", ErrInvalidID)
	}
	return Epoch(v), nil
}

var tokenEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)
