package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/services/token"
)

func TestExpiredTokenIsRefusedWithoutLeeway(t *testing.T) {
	t.Parallel()
	o := options()
	now := noon
	o.Now, o.Leeway = func() time.Time { return now }, time.Minute
	key := newKey(t, "", token.HS256, secret)
	v := newVerifier(t, o, key)
	signed := issue(t, key, alice())
	end := alice().Expires

	now = end.Add(-time.Nanosecond)
	claims, err := v.Verify(signed)
	if err != nil || !claims.Expires.Equal(end) {
		t.Errorf("just before exp: %v, %v", claims.Expires, err)
	}
	for _, late := range []time.Duration{0, time.Second, time.Hour} {
		now = end.Add(late)
		mustRefuse(t, v, signed, token.ErrExpired)
	}
	mustRefuse(t, v, hmacToken(t, `{"sub":"alice","exp":0}`), token.ErrExpired)
}

func TestExpiryIsNeverRoundedUp(t *testing.T) {
	t.Parallel()
	body := fmt.Sprintf(`{"sub":"alice","exp":%d.999}`, noon.Unix()+10)
	claims, err := secretVerifier(t, options()).Verify(hmacToken(t, body))
	if want := noon.Add(10 * time.Second); err != nil || !claims.Expires.Equal(want) {
		t.Errorf("got %v, %v; want %v", claims.Expires, err, want)
	}
}

func TestMissingExpiryIsRefusedUnlessAllowed(t *testing.T) {
	t.Parallel()
	signed := issue(t, newKey(t, "", token.HS256, secret), token.Claims{Client: "alice"})
	mustRefuse(t, secretVerifier(t, options()), signed, token.ErrClaims)

	o := options()
	o.AllowNoExpiry = true
	lax := secretVerifier(t, o)
	claims, err := lax.Verify(signed)
	if err != nil || !claims.Expires.IsZero() {
		t.Errorf("got %v, %v", claims.Expires, err)
	}
	mustRefuse(t, lax, hmacToken(t, `{"sub":"alice","exp":1}`), token.ErrExpired)
	mustRefuse(t, lax, hmacToken(t, `{"sub":"alice","exp":null}`), token.ErrClaims)
}

func TestTokenFromTheFutureIsRefusedBeyondLeeway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		set, want time.Duration
	}{{0, token.DefaultLeeway}, {10 * time.Second, 10 * time.Second}, {-1, 0}, {token.MaxLeeway, token.MaxLeeway}} {
		o := options()
		o.Leeway = tt.set
		v := secretVerifier(t, o)
		for _, claim := range []string{"nbf", "iat"} {
			body := func(at time.Time) string {
				return fmt.Sprintf(`{"sub":"alice","exp":9999999999,%q:%d}`, claim, at.Unix())
			}
			if _, err := v.Verify(hmacToken(t, body(noon.Add(tt.want)))); err != nil {
				t.Errorf("%s within a leeway of %v: %v", claim, tt.set, err)
			}
			mustRefuse(t, v, hmacToken(t, body(noon.Add(tt.want+time.Second))), token.ErrNotYetValid)
		}
	}
}

func TestClaimsOfTheWrongTypeAreRefused(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	values := map[string][]string{
		"sub":   {`null`, `5`, `true`, `["alice"]`, `{}`},
		"exp":   {`null`, `"9999999999"`, `true`, `[]`, `-1`, `1e18`, `1e300`, `9999999999999`},
		"nbf":   {`null`, `"1"`, `-1`, `1e300`, `{}`},
		"iat":   {`null`, `"1"`, `-1`, `1e300`, `false`},
		"iss":   {`null`, `5`, `["login"]`},
		"aud":   {`null`, `5`, `{}`, `[5]`, `["beeline",null]`, `[["beeline"]]`},
		"admin": {`null`, `1`, `"true"`, `[]`, `{}`},
	}
	for _, name := range []string{"send", "groups", "watch", "call"} {
		values[name] = []string{`null`, `"*"`, `5`, `{}`, `[5]`, `[null]`, `["bob",["*"]]`, `["b o b"]`, `[""]`}
	}
	for name, list := range values {
		for _, value := range list {
			t.Run(name+" "+value, func(t *testing.T) {
				t.Parallel()
				// The later of two members counts, so this replaces the good ones.
				body := fmt.Sprintf(`{"sub":"alice","exp":9999999999,%q:%s}`, name, value)
				mustRefuse(t, v, hmacToken(t, body), token.ErrClaims)
			})
		}
	}
}

func TestTooManyPatternsAreRefused(t *testing.T) {
	t.Parallel()
	list := `["a"` + strings.Repeat(`,"a"`, token.MaxPatterns) + `]`
	_, err := secretVerifier(t, options()).Verify(hmacToken(t, `{"sub":"alice","exp":9999999999,"send":`+list+`}`))
	if !errors.Is(err, token.ErrClaims) || !errors.Is(err, token.ErrPattern) {
		t.Errorf("got %v", err)
	}
}

func TestClaimNamesAreExact(t *testing.T) {
	t.Parallel()
	body := `{"sub":"alice","exp":9999999999,"Sub":"root","SUB":"root","Admin":true,"ADMIN":true,"Send":["*"],"EXP":1}`
	claims, err := secretVerifier(t, options()).Verify(hmacToken(t, body))
	if err != nil || claims.Client != "alice" || claims.Admin || claims.Send.Present() {
		t.Errorf("got %+v, %v", claims, err)
	}
}

func TestUnknownClaimsAreIgnored(t *testing.T) {
	t.Parallel()
	body := `{"sub":"alice","exp":9999999999,"jti":5,"email":"a@example.org","nested":{"admin":true}}`
	if claims, err := secretVerifier(t, options()).Verify(hmacToken(t, body)); err != nil || claims.Admin {
		t.Errorf("got %+v, %v", claims, err)
	}
}

func TestInvalidClientIDIsRefused(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	for _, sub := range []string{``, ` `, `a b`, `a*`, `a\nb`, `a/b`, strings.Repeat("a", 129)} {
		body := fmt.Sprintf(`{"sub":"%s","exp":9999999999}`, sub)
		mustRefuse(t, v, hmacToken(t, body), token.ErrClaims)
	}
	mustRefuse(t, v, hmacToken(t, `{"exp":9999999999}`), token.ErrClaims)
}

func TestIssuerAndAudienceAreCheckedWhenConfigured(t *testing.T) {
	t.Parallel()
	o := options()
	o.Issuer, o.Audience = "login", "beeline"
	strict, lax := secretVerifier(t, o), secretVerifier(t, options())
	for _, tt := range []struct {
		claims string
		good   bool
	}{
		{`"iss":"login","aud":"beeline"`, true},
		{`"iss":"login","aud":["other","beeline"]`, true},
		{`"iss":"login","aud":["other"]`, false},
		{`"iss":"login","aud":[]`, false},
		{`"iss":"login","aud":"Beeline"`, false},
		{`"iss":"login","aud":""`, false},
		{`"iss":"login"`, false},
		{`"aud":"beeline"`, false},
		{`"iss":"","aud":"beeline"`, false},
		{`"iss":"login ","aud":"beeline"`, false},
	} {
		signed := hmacToken(t, `{"sub":"alice","exp":9999999999,`+tt.claims+`}`)
		if _, err := lax.Verify(signed); err != nil {
			t.Errorf("%s, not configured: %v", tt.claims, err)
		}
		if !tt.good {
			mustRefuse(t, strict, signed, token.ErrClaims)
		} else if _, err := strict.Verify(signed); err != nil {
			t.Errorf("%s: %v", tt.claims, err)
		}
	}
}
