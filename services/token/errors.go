package token

import "errors"

// Why [Verifier.Verify] refused a token. Callers can branch on them with
// [errors.Is]; their texts, and what they are wrapped in, are safe to show to
// the stranger who presented the token.
var (
	// ErrMalformed: not a signed JWT at all, too large, or with a header that
	// asks for something this package does not do.
	ErrMalformed = errors.New("token is malformed")

	// ErrSignature: no configured key of the token's algorithm (and kid, if it
	// has one) made its signature.
	ErrSignature = errors.New("token signature is refused")

	// ErrExpired: the token's exp has come.
	ErrExpired = errors.New("token has expired")

	// ErrNotYetValid: nbf or iat lies in the future by more than the leeway.
	ErrNotYetValid = errors.New("token is not valid yet")

	// ErrClaims: a claim is missing, of the wrong type, or says something that is
	// not accepted here (issuer, audience, client id). [Issue] returns it too.
	ErrClaims = errors.New("token claims are refused")
)

// What is wrong with the configuration. Their texts are for the operator: they
// may name a file, and never what is in it.
var (
	// ErrKey: a key cannot be read, is too weak, or does not fit its algorithm.
	ErrKey = errors.New("key is refused")

	// ErrOptions: a [Verifier] cannot be made of these [Options] and [Keys].
	ErrOptions = errors.New("token options are refused")

	// ErrPattern: a list of patterns is too long, or a pattern has a character
	// that no id has.
	ErrPattern = errors.New("pattern is refused")
)
