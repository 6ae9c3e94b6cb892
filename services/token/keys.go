package token

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms, by their JWT names. There is no other: fewer choices leave
// fewer to attack.
const (
	HS256 = "HS256" // a shared secret
	RS256 = "RS256" // RSA, 2048 bits at least
	ES256 = "ES256" // ECDSA on P-256
	EdDSA = "EdDSA" // Ed25519
)

const (
	// MaxKeys bounds what a token without kid can make a Verifier compute.
	MaxKeys = 16

	// MinSecret is the shortest HS256 secret in bytes, the size of its hash.
	// A shorter one can be guessed offline from a single token.
	MinSecret = 32

	maxKeyFile  = 64 << 10
	maxKeyID    = 128
	secretLabel = "base64:"
	algorithms  = "HS256, RS256, ES256 or EdDSA"
)

// Key is one key together with the only algorithm it may be used with. Make it
// with [NewKey] or [ParseKeys].
type Key struct {
	// ID is the kid that tokens name this key by; empty when it has no name.
	ID string
	// Algorithm is [HS256], [RS256], [ES256] or [EdDSA].
	Algorithm string

	// A function, because fmt follows pointers and fields where it cannot call
	// String: a Key inside another struct, printed with %s, would show its secret.
	reveal func() material
}

// material holds the keys in the types that the signing methods expect.
type material struct {
	verify any
	sign   any // nil when the key is a public one
}

// CanIssue reports whether the key is a private or shared one.
func (k Key) CanIssue() bool { return k.reveal != nil && k.reveal().sign != nil }

// String names the key; it never shows it.
func (k Key) String() string {
	if k.ID == "" {
		return k.Algorithm
	}
	return k.ID + "=" + k.Algorithm
}

// GoString is String: %#v is no way around it.
func (k Key) GoString() string { return k.String() }

// LogValue keeps the key out of logs.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Keys are the keys of a [Verifier].
type Keys []Key

// ForIssuing returns the first key that tokens can be signed with, or [ErrKey]
// when all are public.
func (ks Keys) ForIssuing() (Key, error) {
	for _, k := range ks {
		if k.CanIssue() {
			return k, nil
		}
	}
	return Key{}, fmt.Errorf("%w: none of the %d can sign tokens: a private key or an HS256 secret is needed", ErrKey, len(ks))
}

// ParseKeys reads keys as configured. Each spec is [kid=]ALG:source, where ALG
// is one of the four algorithms and source is @ and a file's path (see [NewKey]
// for its contents) or, for HS256 only, "base64:" and the secret. A kid may have
// the characters A-Z a-z 0-9 . _ ~ + / = @ -.
//
// It returns [ErrKey] for anything else, for a kid given twice and for more than
// [MaxKeys]. The errors say which spec by its number and never quote it, because
// a secret in the wrong place is the likeliest mistake.
func ParseKeys(specs []string) (Keys, error) {
	if len(specs) > MaxKeys {
		return nil, fmt.Errorf("%w: more than %d keys", ErrKey, MaxKeys)
	}
	keys := make(Keys, 0, len(specs))
	for i, spec := range specs {
		key, err := parseKey(strings.TrimSpace(spec))
		if err != nil {
			return nil, fmt.Errorf("key number %d: %w", i+1, err)
		}
		if keys.has(key.ID) {
			return nil, fmt.Errorf("key number %d: %w: an earlier key has the same kid", i+1, ErrKey)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// has reports whether a key is named id; nameless keys may be many.
func (ks Keys) has(id string) bool {
	return id != "" && slices.ContainsFunc(ks, func(k Key) bool { return k.ID == id })
}

// parseKey reads one spec.
func parseKey(spec string) (Key, error) {
	head, source, ok := strings.Cut(spec, ":")
	if !ok {
		return Key{}, fmt.Errorf("%w: it does not have the form [kid=]ALG:source", ErrKey)
	}
	id, alg := "", head
	// The last =, since a kid made with base64 may end in one.
	if at := strings.LastIndexByte(head, '='); at >= 0 {
		id, alg = head[:at], head[at+1:]
		if id == "" {
			return Key{}, fmt.Errorf("%w: its kid is empty", ErrKey)
		}
	}
	if err := checkAlgorithm(alg); err != nil {
		return Key{}, err
	}
	if path, ok := strings.CutPrefix(source, "@"); ok {
		contents, err := readKeyFile(path)
		if err != nil {
			return Key{}, err
		}
		return NewKey(id, alg, contents)
	}
	encoded, ok := strings.CutPrefix(source, secretLabel)
	if !ok || alg != HS256 {
		return Key{}, fmt.Errorf("%w: its source is neither @ and a file nor, for HS256, %s and a secret", ErrKey, secretLabel)
	}
	secret, err := decodeSecret(encoded)
	if err != nil {
		return Key{}, err
	}
	return newSecretKey(id, secret)
}

// NewKey makes a key of the contents of a key file. For HS256 these are the
// secret itself, without one newline at its end; for the others a PEM public key,
// or a private one, which can also issue. An empty id means no kid.
//
// It returns [ErrKey] when the contents do not fit the algorithm or are too weak.
func NewKey(id, alg string, contents []byte) (Key, error) {
	if err := checkAlgorithm(alg); err != nil {
		return Key{}, err
	}
	if alg == HS256 {
		if line, ok := bytes.CutSuffix(contents, []byte("\n")); ok {
			contents = bytes.TrimSuffix(line, []byte("\r"))
		}
		return newSecretKey(id, contents)
	}
	if err := checkKeyID(id); err != nil {
		return Key{}, err
	}
	m, err := parsePEM(alg, contents)
	if err != nil {
		return Key{}, err
	}
	return conceal(id, alg, m), nil
}

// newSecretKey makes an HS256 key.
func newSecretKey(id string, secret []byte) (Key, error) {
	if err := checkKeyID(id); err != nil {
		return Key{}, err
	}
	// HS256 with the file of a public key: anybody could sign.
	if bytes.Contains(secret, []byte("-----BEGIN ")) {
		return Key{}, fmt.Errorf("%w: a PEM file is not an HS256 secret", ErrKey)
	}
	if len(secret) < MinSecret {
		return Key{}, fmt.Errorf("%w: an HS256 secret has at least %d bytes", ErrKey, MinSecret)
	}
	secret = bytes.Clone(secret)
	return conceal(id, HS256, material{verify: secret, sign: secret}), nil
}

func conceal(id, alg string, m material) Key {
	return Key{ID: id, Algorithm: alg, reveal: func() material { return m }}
}

// checkAlgorithm refuses all but the four algorithms. The name is quoted only
// when it is an algorithm's: it could be a secret in the wrong place.
func checkAlgorithm(alg string) error {
	switch alg {
	case HS256, RS256, ES256, EdDSA:
		return nil
	}
	for _, known := range jwt.GetAlgorithms() {
		if strings.EqualFold(alg, known) {
			return fmt.Errorf("%w: algorithm %s is not accepted, only %s", ErrKey, alg, algorithms)
		}
	}
	return fmt.Errorf("%w: its algorithm is not %s", ErrKey, algorithms)
}

// checkKeyID keeps names to what a configuration can list and a log can show.
func checkKeyID(id string) error {
	bad := func(r rune) bool { return r == ':' || !idRune(r) && !strings.ContainsRune("~+/=", r) }
	if len(id) > maxKeyID || strings.ContainsFunc(id, bad) {
		return fmt.Errorf("%w: its kid is not 1 to %d bytes of A-Z a-z 0-9 . _ ~ + / = @ -", ErrKey, maxKeyID)
	}
	return nil
}

// decodeSecret accepts both alphabets of base64, with or without padding.
func decodeSecret(encoded string) ([]byte, error) {
	encoded = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(encoded, "="))
	secret, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		// The cause is left out: it says where in the secret the fault is.
		return nil, fmt.Errorf("%w: its secret is not base64", ErrKey)
	}
	return secret, nil
}

// readKeyFile reads a whole key file, but no more than any key has.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	defer f.Close()
	contents, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if len(contents) > maxKeyFile {
		return nil, fmt.Errorf("%w: file %q is larger than %d bytes", ErrKey, path, maxKeyFile)
	}
	return contents, nil
}
