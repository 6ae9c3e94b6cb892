package token

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Issue makes a token that says what the claims say, issued now and signed with
// key; it carries the key's ID as kid. Fractions of a second are cut off exp.
//
// It returns [ErrKey] when the key is a public one, and [ErrClaims] when the
// claims have no client, end before they begin, or need a token of more than
// [MaxSize] bytes. Whether Client is a valid id is left to who verifies.
func Issue(key Key, c Claims, now time.Time) (string, error) {
	if !key.CanIssue() {
		return "", fmt.Errorf("%w: it cannot sign tokens: a private key or an HS256 secret is needed", ErrKey)
	}
	if c.Client == "" {
		return "", fmt.Errorf("%w: there is no client", ErrClaims)
	}
	if !c.Expires.IsZero() && (!c.Expires.Truncate(time.Second).After(now) || c.Expires.Unix() > lastSecond) {
		return "", fmt.Errorf("%w: exp is not a future date", ErrClaims)
	}
	t := jwt.NewWithClaims(jwt.GetSigningMethod(key.Algorithm), encode(c, now))
	if key.ID != "" {
		t.Header["kid"] = key.ID
	}
	signed, err := t.SignedString(key.reveal().sign)
	if err != nil {
		return "", fmt.Errorf("sign a token with %v: %w", key, err)
	}
	if len(signed) > MaxSize {
		return "", fmt.Errorf("%w: the token would be longer than %d bytes", ErrClaims, MaxSize)
	}
	return signed, nil
}

// encode is the counterpart of decode. What is absent is left out.
func encode(c Claims, now time.Time) jwt.MapClaims {
	m := jwt.MapClaims{"sub": c.Client, "iat": now.Unix()}
	if !c.Expires.IsZero() {
		m["exp"] = c.Expires.Unix()
	}
	for name, p := range map[string]Patterns{"send": c.Send, "groups": c.Groups, "watch": c.Watch, "call": c.Call} {
		if p.Present() {
			m[name] = p.List()
		}
	}
	for name, s := range map[string]string{"iss": c.Issuer, "aud": c.Audience} {
		if s != "" {
			m[name] = s
		}
	}
	if c.Admin {
		m["admin"] = true
	}
	return m
}
