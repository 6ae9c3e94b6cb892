package token_test

import (
	"errors"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/beeline-rt/beeline/services/token"
)

// FuzzVerify gives a stranger's input to Verify as it is, and once more as the
// header and the body of a token that is signed well, so that what lies behind
// the signature is reached too. Nothing panics, every refusal has a name, and
// what passes is good.
func FuzzVerify(f *testing.F) {
	v := newVerifier(f, options(), newKey(f, "a", token.HS256, secret),
		publicKey(f, "b", token.RS256), publicKey(f, "c", token.ES256), publicKey(f, "d", token.EdDSA))
	for _, alg := range allAlgorithms {
		f.Add(issue(f, privateKey(f, "", alg), alice()), `{"alg":"`+alg+`","kid":"a"}`, `{"sub":"alice","exp":9999999999}`)
	}
	f.Add("a.b.c", `{"alg":"HS256"}`, `{"sub":"alice","exp":9999999999,"send":["*"],"groups":[],"aud":["x"],"admin":true}`)
	f.Add("..", `null`, `null`)
	f.Add("e30.e30.", `{"alg":"none","crit":[]}`, `{"nbf":1e300,"iat":-1,"exp":"1"}`)
	f.Fuzz(func(t *testing.T, raw, header, body string) {
		checkVerdict(t, v, raw)
		checkVerdict(t, v, sign(t, jwt.SigningMethodHS256, secret, header, body))
		checkVerdict(t, v, sign(t, jwt.SigningMethodHS256, secret, `{"alg":"HS256"}`, body))
	})
}

func checkVerdict(t *testing.T, v *token.Verifier, tokenString string) {
	t.Helper()
	claims, err := v.Verify(tokenString)
	if err == nil {
		if options().ValidClient(claims.Client) != nil || !claims.Expires.After(noon) || len(tokenString) > token.MaxSize {
			t.Errorf("passed: %+v", claims)
		}
		return
	}
	for _, reason := range []error{token.ErrMalformed, token.ErrSignature, token.ErrExpired, token.ErrNotYetValid, token.ErrClaims} {
		if errors.Is(err, reason) {
			return
		}
	}
	t.Errorf("refusal without a name: %v", err)
}
