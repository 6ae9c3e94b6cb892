package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/registryserver"
)

// registryConfigs returns a function that says what a registry is told by some flags.
func registryConfigs(t *testing.T) func(args ...string) registryserver.Config {
	t.Helper()
	grammar, _, k := parser(t)
	return func(args ...string) registryserver.Config {
		t.Helper()
		if _, err := k.Parse(append([]string{"registry"}, args...)); err != nil {
			t.Fatal(err)
		}
		cfg, err := grammar.Registry.config()
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
}

// flagOfRegistry says which flag sets which field of registryserver.Config, with a value that is not the default.
var flagOfRegistry = map[string]string{
	"Cluster": "cluster=b", "Others": "cluster-redis=b=x:1", "Listen": "listen=:1", "Admin": "admin=:2", "TLSCert": "tls-cert=c", "TLSKey": "tls-key=k",
	"TicketKeys": "ticket-key=base64:x", "TokenKeys": "token-key=HS256:@f", "TokenIssuer": "token-issuer=i", "TokenAudience": "token-audience=a",
	"APIKeys": "api-key=h", "AllowList": "allow-list=f", "HookURL": "hook-url=http://x/", "HookSecret": "hook-secret=s", "StopTime": "stop-time=1s",
	"Registry.Classes": "policy=rooms=hash", "Registry.Zone": "default-zone=eu", "Registry.Gateways": "gateway=a=ws://x/", "Registry.Direct": "direct",
	"Registry.Poll": "poll=1s", "Registry.Hold": "hold=1s", "Registry.Rate": "client-rate=0", "Registry.Burst": "client-burst=5",
	"Registry.Anonymous": "anonymous", "Registry.Origins": "origin=https://app.example.org",
	"Registry.Backoff.FirstMS": "backoff-first=3s", "Registry.Backoff.BaseMS": "backoff-base=1s", "Registry.Backoff.CapMS": "backoff-cap=1m",
}

func TestEveryFieldOfARegistryIsAFlag(t *testing.T) {
	t.Parallel()
	config := registryConfigs(t)
	plain := fields("", reflect.ValueOf(config()), map[string]any{})
	for name, before := range plain {
		if name == "Logger" || name == "Listener" || strings.HasPrefix(name, "Redis.") { // those of an edge, tested there
			continue
		}
		flag, ok := flagOfRegistry[name]
		if !ok {
			t.Errorf("registryserver.Config has %s, which no flag sets", name)
			continue
		}
		changed := fields("", reflect.ValueOf(config("--"+flag)), map[string]any{})
		for other := range plain {
			if same := reflect.DeepEqual(changed[other], plain[other]); same == (other == name) {
				t.Errorf("--%s: %s was %v and is %v", flag, other, before, changed[other])
			}
		}
	}
}

func TestDefaultsAreThoseOfTheRegistry(t *testing.T) {
	t.Parallel()
	want := registryserver.DefaultConfig()
	want.Redis.Timeout = presence.DefaultTimeout
	want.Others = map[contracts.ClusterName]presence.Redis{}
	if got := registryConfigs(t)(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestOtherClustersAreReachedAsTheFirst(t *testing.T) {
	t.Parallel()
	cfg := registryConfigs(t)("--redis-password", "p", "--cluster-redis", "b=x:1,c=y:1", "--cluster-redis", "b=x:2", "--redis-cluster")
	if got := fmt.Sprintln(cfg.Others["b"].Addrs, cfg.Others["c"].Addrs, cfg.Others["b"].Password, cfg.Others["c"].Cluster); got != "[x:1 x:2] [y:1] p true\n" {
		t.Error(got)
	}
}

func TestWrongUsageOfTheRegistryIsOneLine(t *testing.T) {
	t.Parallel()
	secret := base64.StdEncoding.EncodeToString(make([]byte, 32))
	least := "registry --direct --anonymous --ticket-key base64:" + secret
	for args, words := range map[string][]string{
		"registry":                               {"ticket-key", "beeline registry --help"},
		"registry --ticket-key base64:" + secret: {"token-key", "api-key"},
		"registry --anonymous --ticket-key base64:" + secret:     {"gateway", "direct"},
		"registry --direct --anonymous --ticket-key " + secret:   {"--ticket-key", "@FILE"},
		"registry --direct --anonymous --ticket-key base64:AAAA": {"ticket-key", "32"},
		least + " --gateway here":                                {"--gateway", "CLUSTER=URL"},
		least + " --gateway a=ws://x/":                           {"direct", "gateway"},
		least + " --policy fastest":                              {"policy", "least-connections"},
		least + " --policy hash,hash":                            {"--policy", "default"},
		least + " --cluster-redis x:1":                           {"--cluster-redis", "CLUSTER=ADDR"},
		least + " --cluster-redis a=x:1":                         {"cluster-redis", "redis-addr"},
		least + " --api-key x":                                   {"api-key", "SHA-256"},
		least + " --allow-list /nowhere/at/all":                  {"allow-list", "/nowhere/at/all"},
		least + " --hook-url nowhere":                            {"hook-url"},
		least + " --token-key what":                              {"token-key"},
		least + " --tls-cert c":                                  {"tls-cert", "tls-key"},
	} {
		r := call(t, "", nil, strings.Fields(args+" --listen 127.0.0.1:0 --admin none")...)
		r.refused(t, words...)
		if strings.Contains(r.stderr, secret) {
			t.Errorf("%s: the secret is shown: %s", args, r.stderr)
		}
	}
}

func TestRegistryRunsFromAFileUntilItIsTold(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "ticket.key")
	if r := call(t, "", nil, "token", "--new-key", "HS256", "--out", key); r.code != exitOK {
		t.Fatal(r.stderr)
	}
	var got registryserver.Config
	n := &fakeNode{done: make(chan struct{})}
	b := beginWith(t, func(p *process) {
		p.startRegistry = func(_ context.Context, cfg registryserver.Config) (runningNode, error) { got = cfg; return n, nil }
	}, "registry", "--config", file(t, "ticket-key: \"@"+key+"\"\ngateway: [a=wss://a.example/v1/ws, b=wss://b.example/v1/ws]\napi-key: "+strings.Repeat("0", 64)+"\npolicy: [hash, lobby=least-connections]\n"))
	b.stdout.wait(t, "registry of cluster a is ready: ws://127.0.0.1:1/v1/ws admin http://127.0.0.1:2\n")
	b.stop()
	if code := b.exit(t); code != exitOK || !n.stopped {
		t.Errorf("exit code %d, stopped %v: %s", code, n.stopped, b.stderr)
	}
	if len(got.Registry.Gateways) != 2 || got.Registry.Gateways[1].Cluster != "b" || fmt.Sprint(got.Registry.Classes) != "map[default:hash lobby:least-connections]" {
		t.Errorf("%+v", got.Registry)
	}
	text, _ := os.ReadFile(key)
	if len(got.TicketKeys) != 1 || got.TicketKeys[0]+"\n" != string(text) {
		t.Error("the ticket key is not that of the file")
	}
}

func TestRegistryThatDoesNotStartSaysWhy(t *testing.T) {
	t.Parallel()
	args := []string{"registry", "--direct", "--anonymous", "--ticket-key", "base64:" + base64.StdEncoding.EncodeToString(make([]byte, 32))}
	b := beginWith(t, func(p *process) {
		p.startRegistry = func(context.Context, registryserver.Config) (runningNode, error) {
			return nil, errors.New("no Redis there")
		}
	}, args...)
	if code := b.exit(t); code != exitFailed || b.stderr.String() != "beeline: the registry did not start: no Redis there\n" {
		t.Errorf("exit code %d: %s", code, b.stderr)
	}
	// With the real one: nobody listens on port 1.
	r := call(t, "", nil, append(args, "--listen", "127.0.0.1:0", "--admin", "none", "--redis-addr", "127.0.0.1:1")...)
	if r.code != exitFailed || !strings.Contains(r.stderr, "Redis at 127.0.0.1:1") {
		t.Errorf("%+v", r)
	}
	oneLine(t, r.stderr)
}
