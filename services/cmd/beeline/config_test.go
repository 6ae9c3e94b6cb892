package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file writes a configuration file.
func file(t *testing.T, contents string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "beeline.yaml")
	if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	t.Parallel()
	config := file(t, "max-sessions: 7\nheartbeat: 7s\nin-flight: 7\n")
	grammar, _, k := parser(t, "BEELINE_MAX_SESSIONS=8", "BEELINE_HEARTBEAT=8s", "BEELINE_MAX_ANONYMOUS=", "BEELINE_NODE=a8")
	if _, err := k.Parse([]string{"edge", "--config", config, "--max-sessions", "9"}); err != nil {
		t.Fatal(err)
	}
	cfg, err := grammar.Edge.config()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Edge.MaxSessions != 9 {
		t.Errorf("a flag lost: %d", cfg.Edge.MaxSessions)
	}
	if cfg.Edge.Heartbeat.String() != "8s" || cfg.Node != "a8" {
		t.Errorf("the environment lost: %v, %q", cfg.Edge.Heartbeat, cfg.Node)
	}
	if cfg.Edge.InFlight != 7 {
		t.Errorf("the file lost: %d", cfg.Edge.InFlight)
	}
	if cfg.Edge.MaxAnonymous != 1000 {
		t.Errorf("an empty variable counts: %d", cfg.Edge.MaxAnonymous)
	}
}

func TestFileByItsVariable(t *testing.T) {
	t.Parallel()
	grammar, _, k := parser(t, "BEELINE_CONFIG="+file(t, "node: a7\n"))
	if _, err := k.Parse([]string{"edge"}); err != nil {
		t.Fatal(err)
	}
	if grammar.Edge.ClusterFlags.Node != "a7" {
		t.Errorf("node is %q", grammar.Edge.ClusterFlags.Node)
	}
}

func TestFileOfEveryKindOfValue(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"YAML": `
# an edge
node: a1
anonymous: yes
origin: [https://a.example, https://b.example]
nats-url: nats://n1:4222,nats://n2:4222
redis-password: 0123
max-frame: 128KiB
message-rate: 0.5
admin: ""
`,
		"JSON": `{"node": "a1", "anonymous": true, "origin": ["https://a.example", "https://b.example"],
	"nats-url": ["nats://n1:4222", "nats://n2:4222"], "redis-password": "0123",
	"max-frame": 131072, "message-rate": 0.5, "admin": ""}`,
	} {
		grammar, _, k := parser(t)
		if _, err := k.Parse([]string{"edge", "--config", file(t, text)}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cfg, err := grammar.Edge.config()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if cfg.Node != "a1" || !cfg.Anonymous || cfg.Redis.Password != "0123" || cfg.Edge.MaxFrame != 128<<10 || cfg.Edge.MessageRate != 0.5 ||
			cfg.Admin != "" || strings.Join(cfg.NATS.URLs, " ") != "nats://n1:4222 nats://n2:4222" ||
			strings.Join(cfg.Edge.Origins, " ") != "https://a.example https://b.example" {
			t.Errorf("%s: %+v", name, cfg)
		}
	}
}

func TestEmptyFileIsNoConfiguration(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing yet\n", "---\n"} {
		values, err := parseConfig([]byte(text), []string{"node"})
		if err != nil || len(values) != 0 {
			t.Errorf("%q: %v, %v", text, values, err)
		}
	}
}

func TestBadFileIsExplained(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text  string
		words []string
	}{
		"unknown":     {"node: a1\nmax-frames: 5\n", []string{"line 2", `"max-frames"`, `did you mean "max-frame"?`}},
		"underscores": {"max_frame: 5\n", []string{`did you mean "max-frame"?`}},
		"far off":     {"tls-ciphers-that-we-like: 5\n", []string{"there is no setting"}},
		"not itself":  {"config: other.yaml\n", []string{`"config"`}},
		"help":        {"help: true\n", []string{`"help"`}},
		"twice":       {"node: a1\nnode: a2\n", []string{"line 2", "twice"}},
		"nested":      {"redis-addr:\n  host: x\n", []string{"line 1", "redis-addr"}},
		"no value":    {"node:\n", []string{"line 1", "node has no value"}},
		"no mapping":  {"- node\n", []string{"name: value"}},
		"no YAML":     {"node: [\n", []string{"YAML"}},
		"bad value":   {"heartbeat: soon\n", []string{"--heartbeat", "soon"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			call(t, "", nil, "edge", "--config", file(t, test.text)).refused(t, test.words...)
		})
	}
}

func TestHugeFileIsRefused(t *testing.T) {
	t.Parallel()
	path := file(t, "#"+strings.Repeat("x", maxConfigFile))
	call(t, "", nil, "edge", "--config", path).refused(t, "larger than")
}

func TestSecretFromAFile(t *testing.T) {
	t.Parallel()
	grammar, _, k := parser(t)
	path := file(t, "pass word\r\n")
	if _, err := k.Parse([]string{"edge", "--node", "a1", "--redis-password-file", path, "--redis-sentinel-password-file", path}); err != nil {
		t.Fatal(err)
	}
	cfg, err := grammar.Edge.config()
	if err != nil || cfg.Redis.Password != "pass word" || cfg.Redis.SentinelPassword != "pass word" {
		t.Errorf("%q, %q, %v", cfg.Redis.Password, cfg.Redis.SentinelPassword, err)
	}
	call(t, "", nil, "edge", "--node", "a1", "--redis-password-file", file(t, "\n")).refused(t, "empty")
}
