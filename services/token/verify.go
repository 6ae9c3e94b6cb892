package token

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// MaxSize is the longest token in bytes. It is checked before anything is
	// parsed, because strangers send tokens too.
	MaxSize = 8 << 10

	// DefaultLeeway is how far an issuer's clock may run ahead when Options do
	// not say.
	DefaultLeeway = 30 * time.Second

	// MaxLeeway is the most that Options may say.
	MaxLeeway = 5 * time.Minute
)

// Options say what a [Verifier] accepts besides the signature.
type Options struct {
	// ValidClient returns an error when sub is not a valid client id. Required.
	ValidClient func(string) error

	// Issuer, when set, is the only iss accepted, and a token must have it.
	Issuer string
	// Audience, when set, must be among the token's aud. When it is not set, aud
	// is ignored: set it if the issuer also makes tokens for others.
	Audience string

	// Leeway is how far in the future nbf and iat may lie: zero means
	// [DefaultLeeway], a negative one none. It does not apply to exp, so that a
	// session never begins or lasts after the token's end.
	Leeway time.Duration
	// AllowNoExpiry accepts tokens without exp: their bearers stay logged in for
	// as long as they stay connected, and the tokens are good for ever.
	AllowNoExpiry bool

	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	// Static after construction.
	options Options
	parser  *jwt.Parser
	byID    map[string]Key
	byAlg   map[string]jwt.VerificationKeySet
}

// NewVerifier makes a verifier. It returns [ErrOptions] without keys, since a
// server that lost its keys must not start, and when an option makes no sense.
func NewVerifier(keys Keys, o Options) (*Verifier, error) {
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("%w: there is no key", ErrOptions)
	case len(keys) > MaxKeys:
		return nil, fmt.Errorf("%w: more than %d keys", ErrOptions, MaxKeys)
	case o.ValidClient == nil:
		return nil, fmt.Errorf("%w: ValidClient is missing", ErrOptions)
	case o.Leeway > MaxLeeway:
		return nil, fmt.Errorf("%w: a leeway of %v is more than %v", ErrOptions, o.Leeway, MaxLeeway)
	}
	if o.Leeway == 0 {
		o.Leeway = DefaultLeeway
	}
	o.Leeway = max(o.Leeway, 0)
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Verifier{options: o, byID: map[string]Key{}, byAlg: map[string]jwt.VerificationKeySet{}}
	for _, k := range keys {
		if err := v.add(k); err != nil {
			return nil, err
		}
	}
	algs := slices.Collect(maps.Keys(v.byAlg))
	// Claims are checked here and not by the parser, whose checks take a string
	// for a date, and whose leeway would extend exp.
	v.parser = jwt.NewParser(jwt.WithValidMethods(algs), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	return v, nil
}

// add files a key under its algorithm and its kid.
func (v *Verifier) add(k Key) error {
	if k.reveal == nil {
		return fmt.Errorf("%w: a key is empty", ErrOptions)
	}
	if k.ID != "" {
		if _, taken := v.byID[k.ID]; taken {
			return fmt.Errorf("%w: two keys have the kid %q", ErrOptions, k.ID)
		}
		v.byID[k.ID] = k
	}
	set := v.byAlg[k.Algorithm]
	set.Keys = append(set.Keys, k.reveal().verify)
	v.byAlg[k.Algorithm] = set
	return nil
}

// Verify returns what a token says, once its signature, its dates, its issuer,
// its audience and its client id have been found good. Its errors are
// [ErrMalformed], [ErrSignature], [ErrExpired], [ErrNotYetValid] and [ErrClaims];
// with any of them the claims are empty.
func (v *Verifier) Verify(tokenString string) (Claims, error) {
	claims, err := v.verifySignature(tokenString)
	if err != nil {
		return Claims{}, err
	}
	p, err := decode(claims)
	if err != nil {
		return Claims{}, err
	}
	if err := v.checkDates(p); err != nil {
		return Claims{}, err
	}
	if err := v.checkNames(p); err != nil {
		return Claims{}, err
	}
	p.Audience = v.options.Audience
	return p.Claims, nil
}

// verifySignature returns the claims of a token signed by one of the keys.
func (v *Verifier) verifySignature(tokenString string) (jwt.MapClaims, error) {
	if err := checkShape(tokenString); err != nil {
		return nil, err
	}
	claims := jwt.MapClaims{}
	var refused error
	parsed, err := v.parser.ParseWithClaims(tokenString, claims, func(t *jwt.Token) (any, error) {
		set, err := v.keysFor(t.Header)
		refused = err
		return set, err
	})
	// The parser's own errors are replaced, because they quote the token.
	switch {
	case err == nil && parsed.Valid:
		return claims, nil
	case refused != nil:
		return nil, refused
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, fmt.Errorf("%w: it is not a JWT", ErrMalformed)
	case !v.accepts(parsed.Header["alg"]):
		return nil, fmt.Errorf("%w: its algorithm is not one of the configured keys'", ErrSignature)
	default:
		return nil, fmt.Errorf("%w: it was made with another key, or the token was changed", ErrSignature)
	}
}

// checkShape refuses what cannot be a token before anything is decoded. The
// decoder would skip line breaks; here one token has one spelling.
func checkShape(tokenString string) error {
	if len(tokenString) > MaxSize {
		return fmt.Errorf("%w: it is longer than %d bytes", ErrMalformed, MaxSize)
	}
	for i := range len(tokenString) {
		c := tokenString[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-_.", c) < 0 {
			return fmt.Errorf("%w: it has a character that no JWT has", ErrMalformed)
		}
	}
	return nil
}

// accepts reports whether a header's alg is that of a configured key.
func (v *Verifier) accepts(alg any) bool {
	name, ok := alg.(string)
	if !ok {
		return false
	}
	_, ok = v.byAlg[name]
	return ok
}

// keysFor returns the keys that may have made a token's signature.
func (v *Verifier) keysFor(header map[string]any) (jwt.VerificationKeySet, error) {
	none := jwt.VerificationKeySet{}
	// RFC 7515: whoever does not understand what is critical must refuse.
	if _, present := header["crit"]; present {
		return none, fmt.Errorf("%w: its header has critical extensions", ErrMalformed)
	}
	alg, _ := header["alg"].(string) // the parser has checked it
	kid, named := header["kid"]
	if !named {
		return v.byAlg[alg], nil
	}
	id, ok := kid.(string)
	if !ok || id == "" {
		return none, fmt.Errorf("%w: its kid is not a name", ErrMalformed)
	}
	// The key's algorithm decides, never the token's.
	key, ok := v.byID[id]
	if !ok || key.Algorithm != alg {
		return none, fmt.Errorf("%w: no key of its kid and algorithm is configured", ErrSignature)
	}
	return jwt.VerificationKeySet{Keys: []jwt.VerificationKey{key.reveal().verify}}, nil
}

// checkDates says whether now lies within the token's time.
func (v *Verifier) checkDates(p payload) error {
	now := v.options.Now()
	latest := now.Add(v.options.Leeway)
	switch {
	case p.Expires.IsZero() && !v.options.AllowNoExpiry:
		return fmt.Errorf("%w: exp is missing", ErrClaims)
	case !p.Expires.IsZero() && !now.Before(p.Expires):
		return ErrExpired
	case p.notBefore.After(latest):
		return fmt.Errorf("%w: its nbf lies in the future", ErrNotYetValid)
	case p.issued.After(latest):
		return fmt.Errorf("%w: its iat lies in the future", ErrNotYetValid)
	}
	return nil
}

// checkNames checks who made the token, for whom, and about whom.
func (v *Verifier) checkNames(p payload) error {
	if v.options.Issuer != "" && p.Issuer != v.options.Issuer {
		return fmt.Errorf("%w: its issuer is not the one accepted here", ErrClaims)
	}
	if v.options.Audience != "" && !slices.Contains(p.audience, v.options.Audience) {
		return fmt.Errorf("%w: it was made for another audience", ErrClaims)
	}
	// The cause is left out, because it may quote the id.
	if p.Client == "" || v.options.ValidClient(p.Client) != nil {
		return fmt.Errorf("%w: sub is not a valid client id", ErrClaims)
	}
	return nil
}
