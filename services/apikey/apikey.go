// Package apikey recognises the keys of backends. A server is told the SHA-256 of a key and never has the key itself. It is a
// leaf, for whoever serves backends.
package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/beeline-rt/beeline/contracts"
)

// Header carries a backend's key.
const Header = contracts.BackendKeyHeader

// maxLength bounds what is hashed for a stranger, in bytes.
const maxLength = 512

// Hash is the SHA-256 of a key. A key must be random and long, since nothing slows down whoever guesses at a hash.
type Hash [sha256.Size]byte

// ErrHash is returned for what is no hash. It does not repeat that: it may be the key.
var ErrHash = errors.New("it must be the SHA-256 of the key, as 64 hexadecimal digits")

// Parse reads a hash of 64 hexadecimal digits; the error is [ErrHash].
func Parse(s string) (h Hash, err error) {
	b, err := hex.DecodeString(strings.TrimSpace(s))
	if err != nil || len(b) != len(h) {
		return h, ErrHash
	}
	return Hash(b), nil
}

// Of returns the hash of a key.
func Of(key string) Hash { return sha256.Sum256([]byte(key)) }

// String returns what [Parse] reads.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// New makes a key: 256 random bits, 43 characters that need no quotes anywhere.
func New() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Find returns which of the hashes is that of the key, or -1. It compares with every one, so that time tells nothing.
func Find(key string, among []Hash) int {
	if len(key) > maxLength {
		return -1
	}
	sum, found := Of(key), -1
	for i := range among {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], among[i][:]), i, found)
	}
	return found
}

// In returns the keys in a request's headers: a good request has one.
func In(h http.Header) []string { return h.Values(Header) }
