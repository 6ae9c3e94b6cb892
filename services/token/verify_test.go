package token_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/beeline-rt/beeline/services/token"
)

func TestTokenSaysWhoAndWhatIsAllowed(t *testing.T) {
	t.Parallel()
	want := token.Claims{
		Client: "alice", Expires: noon.Add(time.Hour), Admin: true, Issuer: "login", Audience: "beeline",
		Send: patterns(t, "bob", "team.*"), Groups: patterns(t, "*"), Watch: patterns(t),
	}
	for _, alg := range allAlgorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			o := options()
			o.Issuer, o.Audience = "login", "beeline"
			got, err := newVerifier(t, o, publicKey(t, "k1", alg)).Verify(issue(t, privateKey(t, "k1", alg), want))
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			if !got.Watch.Present() || got.Call.Present() {
				t.Error("empty and absent patterns are mixed up")
			}
		})
	}
}

func TestForgedSignatureIsRefused(t *testing.T) {
	t.Parallel()
	for _, alg := range allAlgorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, options(), publicKey(t, "", alg))
			private, _, err := token.GenerateKey(alg)
			if err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, v, issue(t, newKey(t, "", alg, private), alice()), token.ErrSignature)

			good := issue(t, privateKey(t, "", alg), alice())
			parts := strings.Split(good, ".")
			signature, err := base64.RawURLEncoding.DecodeString(parts[2])
			if err != nil {
				t.Fatal(err)
			}
			body := parts[0] + "." + parts[1] + "."
			mustRefuse(t, v, body, token.ErrSignature)
			mustRefuse(t, v, body+segment(string(signature[1:])), token.ErrSignature)
			mustRefuse(t, v, body+segment(string(make([]byte, len(signature)))), token.ErrSignature)
			signature[len(signature)/2] ^= 1
			mustRefuse(t, v, body+segment(string(signature)), token.ErrSignature)
		})
	}
}

func TestChangedClaimsAreRefused(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	parts := strings.Split(hmacToken(t, `{"sub":"alice","exp":9999999999}`), ".")
	parts[1] = segment(`{"sub":"admin","exp":9999999999}`)
	mustRefuse(t, v, strings.Join(parts, "."), token.ErrSignature)
}

func TestNothingIsSaidOfUnverifiedClaims(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	other := []byte(strings.Repeat("x", 32))
	for _, body := range []string{`{}`, `{"sub":5}`, `{"sub":"alice","exp":1}`, `null`} {
		mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, other, `{"alg":"HS256"}`, body), token.ErrSignature)
	}
}

func TestAlgorithmNoneIsRefused(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, options(), newKey(t, "", token.HS256, secret), publicKey(t, "rsa", token.RS256))
	body := segment(`{"sub":"alice","exp":9999999999}`)
	mac, err := jwt.SigningMethodHS256.Sign("anything", secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{
		`{"alg":"none"}`, `{"alg":"None"}`, `{"alg":"NONE"}`, `{"alg":"nOnE"}`, `{"alg":""}`, `{}`, `null`,
		`{"alg":null}`, `{"alg":["HS256"]}`, `{"alg":"none","kid":"rsa"}`, `{"ALG":"HS256"}`,
	} {
		for _, signature := range []string{"", segment(string(mac))} {
			mustRefuse(t, v, segment(header)+"."+body+"."+signature, token.ErrSignature)
		}
	}
}

func TestOtherSpellingsOfAlgorithmsAreRefused(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	for _, alg := range []string{"hs256", "Hs256", "HS256 ", "HS384", "HS512", "\u212aS256"} {
		header := fmt.Sprintf(`{"alg":%q}`, alg)
		mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, secret, header, `{"sub":"alice","exp":9999999999}`), token.ErrSignature)
	}
	long := sign(t, jwt.SigningMethodHS512, secret, `{"alg":"HS512"}`, `{"sub":"alice","exp":9999999999}`)
	mustRefuse(t, v, long, token.ErrSignature)
}

func TestPublicKeyAsHMACSecretIsRefused(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{token.RS256, token.ES256, token.EdDSA} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			public := pairOf(t, alg).public
			// One verifier has public keys only; the other an HS256 key as well.
			alone := newVerifier(t, options(), publicKey(t, "k1", alg))
			mixed := newVerifier(t, options(), publicKey(t, "k1", alg), newKey(t, "k2", token.HS256, secret))
			for _, key := range [][]byte{public, []byte(strings.TrimSpace(string(public))), {}} {
				for _, header := range []string{`{"alg":"HS256"}`, `{"alg":"HS256","kid":"k1"}`, fmt.Sprintf(`{"alg":%q,"kid":"k1"}`, alg)} {
					forged := sign(t, jwt.SigningMethodHS256, key, header, `{"sub":"alice","exp":9999999999}`)
					mustRefuse(t, alone, forged, token.ErrSignature)
					mustRefuse(t, mixed, forged, token.ErrSignature)
				}
			}
		})
	}
}

func TestOnlyTheKeyNamedByKidIsTried(t *testing.T) {
	t.Parallel()
	other := []byte("another secret of thirty-two bytes")
	v := newVerifier(t, options(),
		newKey(t, "a", token.HS256, secret), newKey(t, "b", token.HS256, other), publicKey(t, "ed", token.EdDSA))
	body := `{"sub":"alice","exp":9999999999}`
	signed := func(header string) string { return sign(t, jwt.SigningMethodHS256, secret, header, body) }

	for _, header := range []string{`{"alg":"HS256","kid":"a"}`, `{"alg":"HS256"}`, `{"alg":"HS256","KID":"b"}`} {
		if _, err := v.Verify(signed(header)); err != nil {
			t.Errorf("%s: %v", header, err)
		}
	}
	for _, kid := range []string{`b`, `ed`, `c`, `A`, `a `, `../a`, `a\u0000`} {
		mustRefuse(t, v, signed(`{"alg":"HS256","kid":"`+kid+`"}`), token.ErrSignature)
	}
	for _, kid := range []string{`""`, `null`, `1`, `["a"]`, `{"a":"a"}`} {
		mustRefuse(t, v, signed(`{"alg":"HS256","kid":`+kid+`}`), token.ErrMalformed)
	}
	// A key without a name is not the key of any kid.
	nameless := secretVerifier(t, options())
	mustRefuse(t, nameless, signed(`{"alg":"HS256","kid":"a"}`), token.ErrSignature)
	mustRefuse(t, nameless, signed(`{"alg":"HS256","kid":""}`), token.ErrMalformed)
}

func TestTokensOfBothKeysPassDuringRotation(t *testing.T) {
	t.Parallel()
	for _, ids := range [][2]string{{"old", "new"}, {"", ""}, {"", "new"}} {
		oldKey := newKey(t, ids[0], token.HS256, secret)
		newest := newKey(t, ids[1], token.HS256, []byte("another secret of thirty-two bytes"))
		during := newVerifier(t, options(), oldKey, newest)
		for _, key := range []token.Key{oldKey, newest} {
			if _, err := during.Verify(issue(t, key, alice())); err != nil {
				t.Errorf("kids %q: %v", ids, err)
			}
		}
		after := newVerifier(t, options(), newest)
		mustRefuse(t, after, issue(t, oldKey, alice()), token.ErrSignature)
	}
}

func TestKeyInsideTheTokenIsNotTrusted(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	mine := []byte(strings.Repeat("m", 32))
	header := `{"alg":"HS256","jwk":{"kty":"oct","k":"` + segment(string(mine)) + `"},"jku":"https://192.0.2.1/","x5u":"https://192.0.2.1/"}`
	mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, mine, header, `{"sub":"alice","exp":9999999999}`), token.ErrSignature)
}

func TestCriticalExtensionIsRefused(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	header := `{"alg":"HS256","crit":["b64"],"b64":false}`
	mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, secret, header, `{"sub":"alice","exp":9999999999}`), token.ErrMalformed)
}

func TestHugeTokenIsRefusedBeforeParsing(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	body := func(padding int) string {
		return hmacToken(t, `{"sub":"alice","exp":9999999999,"x":"`+strings.Repeat("x", padding)+`"}`)
	}
	if good := body(5900); len(good) > token.MaxSize {
		t.Fatalf("token of %d bytes", len(good))
	} else if _, err := v.Verify(good); err != nil {
		t.Errorf("token of %d bytes: %v", len(good), err)
	}
	mustRefuse(t, v, body(6200), token.ErrMalformed)
	mustRefuse(t, v, strings.Repeat("a", 16<<20), token.ErrMalformed)
	mustRefuse(t, v, strings.Repeat(".", token.MaxSize), token.ErrMalformed)
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	good := hmacToken(t, `{"sub":"alice","exp":9999999999}`)
	parts := strings.Split(good, ".")
	for _, bad := range []string{
		"", ".", "..", "...", "....", "hello", "Bearer " + good, good + ".", "." + good, good + "=", good + "\n",
		parts[0] + "\r\n." + parts[1] + "." + parts[2], strings.Join(slices.Repeat([]string{"e30"}, 5), "."),
		parts[0] + "." + parts[1], "a.b.c", segment("{") + "." + parts[1] + "." + parts[2],
		segment("[]") + "." + parts[1] + "." + parts[2], segment(`"x"`) + "." + parts[1] + "." + parts[2],
		"\x00\xff", "ｅyJ.ｅ.ｅ",
	} {
		mustRefuse(t, v, bad, token.ErrMalformed)
	}
	for _, body := range []string{``, `{`, `[]`, `"alice"`, `5`, `{"sub":"alice","exp":1e999}`, `{"exp":9999999999}{}`} {
		mustRefuse(t, v, hmacToken(t, body), token.ErrMalformed)
	}
	deep := strings.Repeat("[", 5000)
	mustRefuse(t, v, segment(deep)+"."+parts[1]+"."+parts[2], token.ErrMalformed)
}

func TestOneTokenHasOneSpelling(t *testing.T) {
	t.Parallel()
	v := secretVerifier(t, options())
	good := hmacToken(t, `{"sub":"alice","exp":9999999999}`)
	// 32 bytes leave two spare bits in the last character of the signature.
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", good[len(good)-1])
	twin := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last^1]
	mustRefuse(t, v, good[:len(good)-1]+string(twin), token.ErrMalformed)
}

func TestVerifierNeedsKeysAndSense(t *testing.T) {
	t.Parallel()
	key := newKey(t, "", token.HS256, secret)
	noCheck, lazy := options(), options()
	noCheck.ValidClient = nil
	lazy.Leeway = token.MaxLeeway + 1
	for name, tt := range map[string]struct {
		keys token.Keys
		o    token.Options
	}{
		"no key":         {nil, options()},
		"zero key":       {token.Keys{{}}, options()},
		"made up key":    {token.Keys{{ID: "a", Algorithm: "none"}}, options()},
		"too many keys":  {slices.Repeat(token.Keys{key}, token.MaxKeys+1), options()},
		"no ValidClient": {token.Keys{key}, noCheck},
		"huge leeway":    {token.Keys{key}, lazy},
	} {
		if v, err := token.NewVerifier(tt.keys, tt.o); !errors.Is(err, token.ErrOptions) || v != nil {
			t.Errorf("%s: got %v, %v", name, v, err)
		}
	}
}

func TestVerifierUsesTheRealClockByDefault(t *testing.T) {
	t.Parallel()
	o := options()
	o.Now = nil
	mustRefuse(t, secretVerifier(t, o), hmacToken(t, `{"sub":"alice","exp":1500000000}`), token.ErrExpired)
}

func TestVerifierIsSharedByManyGoroutines(t *testing.T) {
	t.Parallel()
	var keys []token.Key
	for _, alg := range allAlgorithms {
		keys = append(keys, privateKey(t, "k-"+alg, alg))
	}
	v := newVerifier(t, options(), keys...)
	var wg sync.WaitGroup
	for _, key := range keys {
		for range 4 {
			wg.Go(func() {
				signed, err := token.Issue(key, alice(), noon)
				if err != nil {
					t.Error(err)
				}
				if _, err := v.Verify(signed); err != nil {
					t.Error(err)
				}
				if _, err := v.Verify(signed[1:]); err == nil {
					t.Error("a damaged token passed")
				}
			})
		}
	}
	wg.Wait()
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range allAlgorithms {
		b.Run(alg, func(b *testing.B) {
			v := newVerifier(b, options(), publicKey(b, "k1", alg))
			c := alice()
			c.Send, c.Groups = patterns(b, "bob", "team.*"), patterns(b, "*")
			signed := issue(b, privateKey(b, "k1", alg), c)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(signed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
