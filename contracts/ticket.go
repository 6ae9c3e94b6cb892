package contracts

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Ticket lets one client connect, for a minute. The registry signs it, and the client carries it in its URL. It says where
// the client belongs by a cluster and a key; never by a host, a port or a node: those come from whoever reads it.
type Ticket struct {
	Cluster ClusterName
	Key     PlacementKey
	Client  ClientID
	Expires time.Time // to the second
	Nonce   TicketNonce
}

// PlacementKey is what is hashed to choose an instance: those with the same key are on the same one. The alphabet and
// bounds are those of [ClientID].
type PlacementKey string

// TicketNonce tells tickets apart that are equal otherwise, so that whoever accepts one can refuse it the second time.
type TicketNonce [12]byte

// NewTicketNonce returns 96 random bits.
func NewTicketNonce() (n TicketNonce) {
	_, _ = rand.Read(n[:]) // never fails: crypto/rand ends the process instead
	return n
}

// ParsePlacementKey checks a key that came from outside; see [ParseClientID].
func ParsePlacementKey[T ~string | ~[]byte](s T) (PlacementKey, error) {
	id, err := ParseClientID(s)
	return PlacementKey(id), err
}

// Errors about tickets. None repeats what the ticket says: it may be anything, and the error may be logged.
var (
	ErrTicketMalformed = errors.New("malformed ticket")
	ErrTicketSignature = errors.New("the ticket is not signed with a key of this system")
	ErrTicketExpired   = errors.New("the ticket has expired")
	ErrTicketFuture    = errors.New("the ticket expires too late to be one of this system")
)

const (
	ticketLabel   = "beeline ticket 1" // so that no other use of the same secret makes a valid signature
	ticketMAC     = 18                 // bytes of the HMAC that are kept: 144 bits, and no padding in base64
	ticketNonceIn = 16                 // characters of the nonce in s, and of the MAC after it
	ticketMACIn   = 24
	ticketDigits  = 10 // of an expiry: until the year 2286
)

// ticketBytes marks what a ticket may consist of: the alphabets of its values, and what separates them. A percent sign or
// a plus is in none of them, so there is one way to write a ticket, and two parsers cannot read it differently.
var ticketBytes = alphabet(alphanumeric + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "._:@-=&")

// mac returns what stands for the ticket's signature. Every part is preceded by its length: no two tickets have the same input.
func (t Ticket) mac(s TicketSecret) []byte {
	h := hmac.New(sha256.New, s.reveal())
	in := make([]byte, 0, 512)
	for _, part := range [...]string{ticketLabel, s.ID, string(t.Cluster), string(t.Key), string(t.Client)} {
		in = binary.BigEndian.AppendUint16(in, uint16(len(part)))
		in = append(in, part...)
	}
	in = binary.BigEndian.AppendUint64(in, uint64(t.Expires.Unix()))
	in = append(in, t.Nonce[:]...)
	h.Write(in)
	return h.Sum(nil)[:ticketMAC]
}

// Sign returns the ticket as the query of a URL, signed with the first secret. The ticket must be of checked parts.
func (s TicketSecrets) Sign(t Ticket) string {
	b := make([]byte, 0, MaxTicketQuery)
	b = append(b, "c="...)
	b = append(b, t.Cluster...)
	b = append(b, "&k="...)
	b = append(b, t.Key...)
	b = append(b, "&n="...)
	b = append(b, t.Client...)
	b = append(b, "&e="...)
	b = strconv.AppendInt(b, t.Expires.Unix(), 10)
	b = append(b, "&s="...)
	b = append(b, s[0].ID...)
	b = append(b, '.')
	b = base64.RawURLEncoding.AppendEncode(b, t.Nonce[:])
	return string(base64.RawURLEncoding.AppendEncode(b, t.mac(s[0])))
}

// Verify reads the query of a URL, without its question mark: a ticket and nothing else. Its errors are
// [ErrTicketMalformed], [ErrTicketSignature], [ErrTicketExpired] and [ErrTicketFuture]; the ticket is empty then. What it
// returns was signed; that it was not used before is for the caller to check, by its nonce.
//
// It looks at MaxTicketQuery bytes at most, and allocates nothing before every part has been found to be of its form.
func (s TicketSecrets) Verify(query string, now time.Time) (Ticket, error) {
	t, id, mac, err := parseTicket(query)
	if err != nil {
		return Ticket{}, err
	}
	good := false
	for _, secret := range s { // every one is tried, so that time tells nothing
		named := secret.ID == id // ids are public
		good = hmac.Equal(mac[:], t.mac(secret)) && named || good
	}
	switch left := t.Expires.Sub(now); {
	case !good:
		return Ticket{}, ErrTicketSignature
	case left <= 0:
		return Ticket{}, ErrTicketExpired
	case left > TicketLife+TicketSkew:
		return Ticket{}, ErrTicketFuture
	}
	return t, nil
}

// parseTicket reads a ticket whose signature nobody has looked at.
func parseTicket(query string) (t Ticket, id string, mac [ticketMAC]byte, err error) {
	values, err := splitTicket(query)
	if err != nil {
		return Ticket{}, "", mac, err
	}
	if t.Cluster, err = ParseClusterName(values[0]); err != nil {
		return Ticket{}, "", mac, malformed("c", err)
	}
	if t.Key, err = ParsePlacementKey(values[1]); err != nil {
		return Ticket{}, "", mac, malformed("k", err)
	}
	if t.Client, err = ParseClientID(values[2]); err != nil {
		return Ticket{}, "", mac, malformed("n", err)
	}
	e, err := strconv.ParseUint(values[3], 10, 63)
	if err != nil || len(values[3]) > ticketDigits || values[3][0] == '0' {
		return Ticket{}, "", mac, fmt.Errorf("%w: e is no time in seconds", ErrTicketMalformed)
	}
	t.Expires = time.Unix(int64(e), 0).UTC()
	id, rest, found := strings.Cut(values[4], ".")
	if !found || len(id) != ticketSecretID || len(rest) != ticketNonceIn+ticketMACIn {
		return Ticket{}, "", mac, fmt.Errorf("%w: s is not of the form of a signature", ErrTicketMalformed)
	}
	// Both are whole groups of three bytes: there are no bits left over that could be anything.
	_, errNonce := base64.RawURLEncoding.Decode(t.Nonce[:], []byte(rest[:ticketNonceIn]))
	_, errMAC := base64.RawURLEncoding.Decode(mac[:], []byte(rest[ticketNonceIn:]))
	if errNonce != nil || errMAC != nil {
		return Ticket{}, "", mac, fmt.Errorf("%w: s is not of the form of a signature", ErrTicketMalformed)
	}
	return t, id, mac, nil
}

func malformed(name string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrTicketMalformed, name, err)
}

// ticketNames are the parameters, in the order of their values.
const ticketNames = "cknes"

// splitTicket returns the values of the parameters: each there once, in any order, and no other.
func splitTicket(query string) (values [len(ticketNames)]string, err error) {
	switch {
	case query == "":
		return values, fmt.Errorf("%w: there is none", ErrTicketMalformed)
	case len(query) > MaxTicketQuery:
		return values, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTicketMalformed, len(query), MaxTicketQuery)
	}
	for i := range len(query) {
		if !ticketBytes[query[i]] {
			return values, fmt.Errorf("%w: byte %d (0x%02x) is not allowed; nothing in a ticket is percent-encoded", ErrTicketMalformed, i+1, query[i])
		}
	}
	n := 0
	for parameter := range strings.SplitSeq(query, "&") {
		if len(parameter) < 3 || parameter[1] != '=' {
			return values, fmt.Errorf("%w: a parameter is empty, or none of c, k, n, e, s", ErrTicketMalformed)
		}
		place := strings.IndexByte(ticketNames, parameter[0])
		switch {
		case place < 0:
			return values, fmt.Errorf("%w: a parameter is none of c, k, n, e, s", ErrTicketMalformed)
		case values[place] != "":
			return values, fmt.Errorf("%w: %c is there twice", ErrTicketMalformed, parameter[0])
		}
		values[place] = parameter[2:]
		n++
	}
	if n != len(ticketNames) {
		return values, fmt.Errorf("%w: c, k, n, e and s are needed", ErrTicketMalformed)
	}
	return values, nil
}
