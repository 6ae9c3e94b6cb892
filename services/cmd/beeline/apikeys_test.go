package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/services/api"
	"github.com/beeline-rt/beeline/services/apikey"
	"github.com/beeline-rt/beeline/services/node"
)

func TestAKeyIsMadeWithItsLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.yaml")
	made := []string{"apikey", "--name", "shop", "--scopes", "send,tokens", "--from", "shop", "--from", "shop-*", "--clients", "*", "--rate", "2.5", "--burst", "7"}
	r := call(t, "", nil, append(made, "--out", file)...)
	key := strings.TrimSuffix(r.stdout, "\n")
	if r.code != exitOK || !regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`).MatchString(key) {
		t.Fatalf("%+v", r)
	}
	r = call(t, "", nil, made...)
	printed, line, _ := strings.Cut(r.stdout, "\n")
	if r.code != exitOK || printed == key {
		t.Fatalf("%+v", r)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(line) // pasted
	_ = f.Close()
	keys, err := readAPIKeys(file)
	if err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}
	for i, k := range []string{key, printed} {
		want := node.APIKey{
			Name: "shop", SHA256: apikey.Of(k).String(), Scopes: []api.Scope{"send", "tokens"}, From: []string{"shop", "shop-*"},
			Clients: []string{"*"}, Rate: 2.5, Burst: 7,
		}
		if fmt.Sprint(keys[i]) != fmt.Sprint(want) {
			t.Errorf("%v, not %v", keys[i], want)
		}
	}
	for _, wrong := range [][]string{
		{"apikey"},
		{"apikey", "--name", "a", "--scopes", "send", "--from", "a/b"},
	} {
		r := call(t, "", nil, wrong...)
		if r.code != exitUsage || r.stdout != "" {
			t.Errorf("%v: %+v", wrong, r)
		}
		oneLine(t, r.stderr)
	}
}

func TestAFileOfKeysThatIsWrongIsRefused(t *testing.T) {
	t.Parallel()
	hash := apikey.Of("x").String()
	line := `- {name: a, sha256: ` + hash + `, scopes: [send]}` + "\n"
	for text, says := range map[string]string{
		"":                                       "without api-keys",
		"keys: []":                               "not a list",
		line + line:                              "twice",
		"- {nome: a}":                            "nome",
		"- {name: a, scopes: [send]}":            "sha256",
		"- {name: a, sha256: " + hash + "}":      "no scopes",
		strings.Replace(line, "send", "sing", 1): "sing",
		strings.Replace(line, "}", ", from: [a b]}", 1): "from",
		strings.Replace(line, "}", ", rate: .inf}", 1):  "rate and burst",
		strings.Replace(line, "}", ", rate: .nan}", 1):  "rate and burst",
		strings.Replace(line, "}", ", rate: 2e6}", 1):   "rate and burst",
		strings.Replace(line, "}", ", burst: -1}", 1):   "rate and burst",
	} {
		file := filepath.Join(t.TempDir(), "keys.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := node.DefaultConfig()
		cfg.Node, cfg.Anonymous, cfg.APIListen = "a1", true, "127.0.0.1:0"
		var err error
		if cfg.APIKeys, err = readAPIKeys(file); err == nil {
			err = cfg.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), hash) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, wrong := range [][]string{
		{"--api-keys", "testdata/api-keys.yaml"},
		{"--api-listen", "127.0.0.1:0", "--api-keys", "testdata/none.yaml"},
		{"--events-url", "ftp://x/"},
	} {
		if r := call(t, "", nil, append([]string{"edge", "--node", "a1", "--anonymous", "--nats-url", "nats://127.0.0.1:1"}, wrong...)...); r.code != exitUsage {
			t.Errorf("%v: %+v", wrong, r)
		}
	}
}

func TestAFileOfKeysGetsNoNameTwice(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.yaml")
	made := []string{"apikey", "--name", "shop", "--scopes", "send", "--from", "shop", "--clients", "*", "--out", file}
	if r := call(t, "", nil, made...); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	call(t, "", nil, made...).refused(t, "--name", file, "shop already")
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Errorf("it has %q, %v", after, err)
	}
	made[2] = "shop-2"
	if r := call(t, "", nil, made...); r.code != exitOK {
		t.Errorf("%+v", r)
	}
}
