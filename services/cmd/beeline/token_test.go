package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/token"
)

// verify checks a printed token as an edge does.
func verify(t *testing.T, keySpec, printed string, o token.Options) (token.Claims, error) {
	t.Helper()
	keys, err := token.ParseKeys([]string{keySpec})
	if err != nil {
		t.Fatal(err)
	}
	o.ValidClient = func(s string) error { _, err := contracts.ParseClientID(s); return err }
	v, err := token.NewVerifier(keys, o)
	if err != nil {
		t.Fatal(err)
	}
	return v.Verify(strings.TrimSpace(printed))
}

func TestKeyThenTokenThenLogin(t *testing.T) {
	t.Parallel()
	for alg, spelt := range map[string]string{token.HS256: "hs256", token.ES256: "ES256", token.EdDSA: "eddsa"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "key")
			r := call(t, "", nil, "token", "--new-key", spelt, "--out", path)
			if r.code != exitOK || !strings.Contains(r.stdout, "beeline edge --token-key "+alg+":@"+path) {
				t.Fatalf("%+v", r)
			}
			if (alg == token.HS256) != strings.Contains(r.stdout, "registry --ticket-key @"+path) {
				t.Errorf("only a secret can sign tickets: %s", r.stdout)
			}
			mode(t, path, 0o600)
			public := path
			if alg != token.HS256 {
				public += ".pub"
				mode(t, public, 0o644)
			}
			r = call(t, "", nil, "token", "--key", "k1="+alg+":@"+path, "--client", "bob", "--ttl", "2h", "--send", "a*", "--send", "eve,dan",
				"--groups", "", "--admin", "--issuer", "me", "--audience", "you")
			if r.code != exitOK || r.stderr != "" {
				t.Fatalf("%+v", r)
			}
			oneLine(t, r.stdout)
			c, err := verify(t, "k1="+alg+":@"+public, r.stdout, token.Options{Issuer: "me", Audience: "you"})
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(c.Expires); c.Client != "bob" || !c.Admin || left > 2*time.Hour || left < 119*time.Minute {
				t.Errorf("%+v", c)
			}
			if !c.Send.Allows("alice") || !c.Send.Allows("dan") || c.Send.Allows("bob") || !c.Groups.Present() || c.Groups.Allows("g") || c.Watch.Present() {
				t.Errorf("%+v", c)
			}
		})
	}
}

// mode checks who may read a file.
func mode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&^want != 0 {
		t.Errorf("%s: %v, %v", path, info, err)
	}
}

func TestKeyFromTheEnvironment(t *testing.T) {
	t.Parallel()
	secret := strings.TrimSpace(call(t, "", nil, "token", "--new-key", "HS256").stdout)
	path := file(t, secret+"\n")
	r := call(t, "", []string{"BEELINE_TOKEN_KEY=HS256:@" + path}, "token", "--client", "bob")
	if r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	if c, err := verify(t, "HS256:@"+path, r.stdout, token.Options{}); err != nil || c.Client != "bob" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestKeyIsNeverOverwritten(t *testing.T) {
	t.Parallel()
	for _, taken := range []string{"key", "key.pub"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, taken), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := call(t, "", nil, "token", "--new-key", "EdDSA", "--out", filepath.Join(dir, "key"))
		if r.code != exitFailed || !strings.Contains(r.stderr, taken+" exists") {
			t.Errorf("%+v", r)
		}
		oneLine(t, r.stderr)
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != 1 {
			t.Errorf("left behind: %v, %v", files, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, taken)); err != nil || string(b) != "precious" {
			t.Errorf("%q, %v", b, err)
		}
	}
}

func TestTokenUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if r := call(t, "", nil, "token", "--new-key", "EdDSA", "--out", key); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	spec := "EdDSA:@" + key
	call(t, "", nil, "token", "--key", spec, "--client", "no spaces").refused(t, "--client")
	call(t, "", nil, "token", "--key", spec, "--client", "bob", "--ttl", "0s").refused(t, "--ttl")
	call(t, "", nil, "token", "--key", spec, "--client", "bob", "--watch", "a b").refused(t, "--watch")
	call(t, "", nil, "token", "--key", spec, "--client", "bob", "--out", "f").refused(t, "--out")
	call(t, "", nil, "token", "--key", "EdDSA:@"+filepath.Join(dir, "none"), "--client", "bob").refused(t, "--key", "none")
	r := call(t, "", nil, "token", "--key", spec+".pub", "--client", "bob")
	if r.code != exitFailed || !strings.Contains(r.stderr, "private") {
		t.Errorf("%+v", r)
	}
}
