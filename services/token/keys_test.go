package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/services/token"
)

// writeFile writes contents to a file of the test's own and returns its path.
func writeFile(tb testing.TB, contents []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "key")
	if err := os.WriteFile(path, contents, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// parsePKCS8 reads a generated private key, to have it encoded differently.
func parsePKCS8(tb testing.TB, file []byte) any {
	tb.Helper()
	block, _ := pem.Decode(file)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func TestConfiguredKeysVerifyWhatTheyIssue(t *testing.T) {
	t.Parallel()
	for _, alg := range allAlgorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			files := pairOf(t, alg)
			specs := []string{" k1=" + alg + ":@" + writeFile(t, files.private) + "\n"}
			issuing, err := token.ParseKeys(specs)
			if err != nil {
				t.Fatal(err)
			}
			verifying := issuing
			if alg != token.HS256 {
				verifying, err = token.ParseKeys([]string{"k1=" + alg + ":@" + writeFile(t, files.public)})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := verifying.ForIssuing(); !errors.Is(err, token.ErrKey) {
					t.Errorf("a public key can issue: %v", err)
				}
			}
			key, err := issuing.ForIssuing()
			if err != nil {
				t.Fatal(err)
			}
			claims, err := newVerifier(t, options(), verifying...).Verify(issue(t, key, alice()))
			if err != nil || claims.Client != "alice" {
				t.Errorf("got %+v, %v", claims, err)
			}
		})
	}
}

func TestOlderPEMFormsAreRead(t *testing.T) {
	t.Parallel()
	rsaKey := parsePKCS8(t, pairOf(t, token.RS256).private).(*rsa.PrivateKey)
	ecKey := parsePKCS8(t, pairOf(t, token.ES256).private).(*ecdsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	opensslEC := append(encodePEM("EC PARAMETERS", []byte{6, 8}), encodePEM("EC PRIVATE KEY", sec1)...)
	for name, key := range map[string]token.Key{
		"PKCS1 private":   newKey(t, "", token.RS256, encodePEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))),
		"PKCS1 public":    newKey(t, "", token.RS256, encodePEM("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey))),
		"openssl ecparam": newKey(t, "", token.ES256, opensslEC),
	} {
		signed := issue(t, privateKey(t, "", key.Algorithm), alice())
		if _, err := newVerifier(t, options(), key).Verify(signed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretIsTheSameInEitherSpelling(t *testing.T) {
	t.Parallel()
	raw := append(bytes.Repeat([]byte{0xfb, 0xff, 0xfe}, 11), 0xff) // + / and = in base64
	signed := issue(t, newKey(t, "", token.HS256, raw), alice())
	for name, source := range map[string]string{
		"standard":   "base64:" + base64.StdEncoding.EncodeToString(raw),
		"URL":        "base64:" + base64.URLEncoding.EncodeToString(raw),
		"no padding": "base64:" + base64.RawStdEncoding.EncodeToString(raw),
		"file":       "@" + writeFile(t, raw),
		"file, line": "@" + writeFile(t, append(bytes.Clone(raw), '\n')),
		"file, CRLF": "@" + writeFile(t, append(bytes.Clone(raw), "\r\n"...)),
	} {
		keys, err := token.ParseKeys([]string{"HS256:" + source})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := newVerifier(t, options(), keys...).Verify(signed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadKeySpecsAreRefusedWithoutQuotingThem(t *testing.T) {
	t.Parallel()
	const hidden = "hunter2hunter2hunter2hunter2hunter2hunter2"
	in64 := base64.StdEncoding.EncodeToString([]byte(hidden))
	for _, spec := range []string{
		"", ":", "HS256", hidden, "=HS256:base64:" + in64,
		"HS256:" + hidden, "HS256:" + in64, "base64:" + in64, hidden + ":HS256", hidden + "=" + hidden,
		"HS256:base64:" + in64[:20], "HS256:base64:" + in64[:40] + "!!", "HS256:base64:",
		"RS256:base64:" + in64, "EdDSA:" + in64,
		"none:base64:" + in64, "hs256:base64:" + in64, "HS512:base64:" + in64, "PS256:base64:" + in64,
		"k 1=HS256:base64:" + in64, strings.Repeat("k", 129) + "=HS256:base64:" + in64,
	} {
		keys, err := token.ParseKeys([]string{spec})
		if !errors.Is(err, token.ErrKey) || keys != nil {
			t.Errorf("spec %q: got %v, %v", spec, keys, err)
			continue
		}
		if text := err.Error(); strings.Contains(text, hidden[:8]) || strings.Contains(text, in64[:8]) {
			t.Errorf("spec %q: error %q shows the secret", spec, text)
		}
	}
}

func TestOtherAlgorithmsAreRefusedByName(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"none", "None", "HS384", "HS512", "RS384", "RS512", "PS256", "ES384", "ES512", "hs256", "eddsa"} {
		_, err := token.ParseKeys([]string{alg + ":@key.pem"})
		if !errors.Is(err, token.ErrKey) || !strings.Contains(err.Error(), alg) {
			t.Errorf("%s: got %v", alg, err)
		}
		if _, _, err := token.GenerateKey(alg); !errors.Is(err, token.ErrKey) {
			t.Errorf("generate %s: got %v", alg, err)
		}
	}
}

func TestUnfitKeyFilesAreRefused(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	ed := pairOf(t, token.EdDSA)
	tests := []struct {
		name, alg string
		contents  []byte
	}{
		{"empty", token.EdDSA, nil},
		{"not PEM", token.RS256, []byte("hello")},
		{"garbage in PEM", token.RS256, encodePEM("PUBLIC KEY", []byte("hello"))},
		{"certificate", token.RS256, encodePEM("CERTIFICATE", []byte("hello"))},
		{"encrypted", token.RS256, encodePEM("ENCRYPTED PRIVATE KEY", []byte("hello"))},
		{"two keys", token.EdDSA, append(bytes.Clone(ed.public), ed.public...)},
		{"Ed25519 as RS256", token.RS256, ed.public},
		{"Ed25519 as ES256", token.ES256, ed.private},
		{"RSA as EdDSA", token.EdDSA, pairOf(t, token.RS256).public},
		{"RSA as ES256", token.ES256, pairOf(t, token.RS256).private},
		{"P-256 as EdDSA", token.EdDSA, pairOf(t, token.ES256).public},
		{"P-384 as ES256", token.ES256, encodePEM("EC PRIVATE KEY", sec1)},
		{"RSA of 1024 bits", token.RS256, encodePEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small))},
		{"public key as secret", token.HS256, pairOf(t, token.RS256).public},
		{"private key as secret", token.HS256, ed.private},
		{"short secret", token.HS256, secret[1:]},
		{"short secret and line break", token.HS256, append(bytes.Clone(secret[1:]), '\n')},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			key, err := token.NewKey("", tt.alg, tt.contents)
			if !errors.Is(err, token.ErrKey) || key.CanIssue() {
				t.Errorf("got %v, %v", key, err)
			}
		})
	}
}

func TestUnreadableKeyFileIsNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "missing.pem")
	_, err := token.ParseKeys([]string{"EdDSA:@" + path})
	if !errors.Is(err, token.ErrKey) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "missing.pem") {
		t.Errorf("missing file: got %v", err)
	}
	if _, err := token.ParseKeys([]string{"EdDSA:@" + t.TempDir()}); !errors.Is(err, token.ErrKey) {
		t.Errorf("directory: got %v", err)
	}
	if _, err := token.ParseKeys([]string{"HS256:@" + writeFile(t, make([]byte, 1<<20))}); !errors.Is(err, token.ErrKey) {
		t.Errorf("large file: got %v", err)
	}
}

func TestKidIsGivenOnce(t *testing.T) {
	t.Parallel()
	spec := "HS256:base64:" + base64.StdEncoding.EncodeToString(secret)
	if _, err := token.ParseKeys([]string{"a=" + spec, "a=" + spec}); !errors.Is(err, token.ErrKey) {
		t.Errorf("same kid twice: got %v", err)
	}
	keys, err := token.ParseKeys([]string{"a=" + spec, "Zm9v+/8==" + spec, spec, spec})
	if err != nil || keys[1].ID != "Zm9v+/8=" || keys[2].ID != "" {
		t.Errorf("got %v, %v", keys, err)
	}
	if _, err := token.ParseKeys(make([]string, token.MaxKeys+1)); !errors.Is(err, token.ErrKey) {
		t.Errorf("too many keys: got %v", err)
	}
	key := newKey(t, "a", token.HS256, secret)
	if _, err := token.NewVerifier(token.Keys{key, key}, options()); !errors.Is(err, token.ErrOptions) {
		t.Errorf("verifier with the same kid twice: got %v", err)
	}
}

func TestKeyIsNeverPrinted(t *testing.T) {
	t.Parallel()
	key := newKey(t, "k1", token.HS256, secret)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", slog.Any("key", key), slog.Any("keys", token.Keys{key}))
	inJSON, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	type config struct{ key token.Key } // where fmt cannot call String
	out := log.String() + string(inJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%o", "%b"} {
		out += fmt.Sprintf(strings.Repeat(verb+" ", 3), key, token.Keys{key}, config{key})
	}
	for _, form := range []string{"%s", "%x", "%d", "%v", "%#v"} {
		shown := strings.Trim(fmt.Sprintf(form, secret), "[]")
		if strings.Contains(out, shown[:16]) {
			t.Errorf("the secret is printed as %s", form)
		}
	}
	if !strings.Contains(out, "k1=HS256") {
		t.Error("the key's name is not printed")
	}
}
