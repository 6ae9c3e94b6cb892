package token_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/beeline-rt/beeline/services/token"
)

// noon is the time in these tests: nothing here reads the real clock.
var noon = time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC)

// secret is an HS256 secret of the least length.
var secret = []byte("0123456789abcdef0123456789abcdef")

var allAlgorithms = []string{token.HS256, token.RS256, token.ES256, token.EdDSA}

// pair holds the files of a generated key.
type pair struct{ private, public []byte }

// pairs makes one pair per algorithm for the whole package: RSA keys are slow.
var pairs = sync.OnceValues(func() (map[string]pair, error) {
	made := map[string]pair{}
	for _, alg := range allAlgorithms {
		private, public, err := token.GenerateKey(alg)
		if err != nil {
			return nil, err
		}
		made[alg] = pair{private, public}
	}
	return made, nil
})

// pairOf returns the files of the package's key for an algorithm.
func pairOf(tb testing.TB, alg string) pair {
	tb.Helper()
	made, err := pairs()
	if err != nil {
		tb.Fatal(err)
	}
	return made[alg]
}

// privateKey returns the package's key for issuing with an algorithm.
func privateKey(tb testing.TB, id, alg string) token.Key {
	tb.Helper()
	return newKey(tb, id, alg, pairOf(tb, alg).private)
}

// publicKey returns its counterpart; for HS256 there is only the secret.
func publicKey(tb testing.TB, id, alg string) token.Key {
	tb.Helper()
	if alg == token.HS256 {
		return privateKey(tb, id, alg)
	}
	return newKey(tb, id, alg, pairOf(tb, alg).public)
}

func newKey(tb testing.TB, id, alg string, contents []byte) token.Key {
	tb.Helper()
	key, err := token.NewKey(id, alg, contents)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// options are those of a plain server at noon.
func options() token.Options {
	return token.Options{
		Now: func() time.Time { return noon },
		ValidClient: func(id string) error {
			if id == "" || len(id) > 128 || strings.ContainsAny(id, " \r\n*/") {
				return errors.New("bad id")
			}
			return nil
		},
	}
}

func newVerifier(tb testing.TB, o token.Options, keys ...token.Key) *token.Verifier {
	tb.Helper()
	v, err := token.NewVerifier(keys, o)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// alice is a client whose token is good for an hour after noon.
func alice() token.Claims {
	return token.Claims{Client: "alice", Expires: noon.Add(time.Hour)}
}

func issue(tb testing.TB, key token.Key, c token.Claims) string {
	tb.Helper()
	signed, err := token.Issue(key, c, noon)
	if err != nil {
		tb.Fatal(err)
	}
	return signed
}

func patterns(tb testing.TB, list ...string) token.Patterns {
	tb.Helper()
	p, err := token.NewPatterns(list...)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// sign makes a token of any header and body, signed by method with key: what
// token.Issue would never write.
func sign(tb testing.TB, method jwt.SigningMethod, key any, header, body string) string {
	tb.Helper()
	text := segment(header) + "." + segment(body)
	signature, err := method.Sign(text, key)
	if err != nil {
		tb.Fatal(err)
	}
	return text + "." + segment(string(signature))
}

func segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// hmacToken is a token with a well made HS256 signature by secret, and any body.
func hmacToken(tb testing.TB, body string) string {
	tb.Helper()
	return sign(tb, jwt.SigningMethodHS256, secret, `{"alg":"HS256","typ":"JWT"}`, body)
}

// secretVerifier verifies the tokens of hmacToken.
func secretVerifier(tb testing.TB, o token.Options) *token.Verifier {
	tb.Helper()
	return newVerifier(tb, o, newKey(tb, "", token.HS256, secret))
}

// mustRefuse fails unless the token is refused for the reason given, with empty
// claims and without a word of the token in the error.
func mustRefuse(tb testing.TB, v *token.Verifier, tokenString string, want error) {
	tb.Helper()
	claims, err := v.Verify(tokenString)
	if !errors.Is(err, want) {
		tb.Fatalf("got error %v, want %v", err, want)
	}
	if claims.Client != "" || claims.Admin || claims.Send.Present() {
		tb.Errorf("claims of a refused token are not empty: %+v", claims)
	}
	for part := range strings.SplitSeq(tokenString, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			tb.Errorf("error %q quotes the token", err)
		}
	}
}
