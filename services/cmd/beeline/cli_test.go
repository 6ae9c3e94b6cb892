package main

import (
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// parser returns the grammar, and where its settings come from.
func parser(t *testing.T, environment ...string) (*commands, *settings, *kong.Kong) {
	t.Helper()
	grammar := &commands{}
	source := &settings{getenv: lookup(environment), environment: map[*kong.Flag]string{}}
	k, err := newParser(grammar, source, kong.Bind(source))
	if err != nil {
		t.Fatal(err)
	}
	return grammar, source, k
}

func TestEveryCommandAndFlagExplainsItself(t *testing.T) {
	t.Parallel()
	_, _, k := parser(t)
	for _, command := range k.Model.Children {
		if command.Help == "" {
			t.Errorf("%s has no help", command.Name)
		}
		for _, flag := range command.Flags {
			name := command.Name + " --" + flag.Name
			if len(flag.Help) < 10 || !strings.HasSuffix(strings.TrimRight(flag.Help, ")"), ".") && !strings.Contains(flag.Help, ". (") {
				t.Errorf("%s: the help is no sentence: %q", name, flag.Help)
			}
			if !flag.IsBool() && flag.PlaceHolder == "" {
				t.Errorf("%s: the help does not show what its value looks like", name)
			}
		}
	}
}

func TestEveryFlagOfAServerHasAGroupAndAVariable(t *testing.T) {
	t.Parallel()
	_, source, k := parser(t)
	seen := map[string]string{}
	for _, command := range k.Model.Children {
		for _, flag := range command.Flags {
			variable := source.environment[flag]
			if command.Name == "edge" || command.Name == "registry" {
				if flag.Group == nil {
					t.Errorf("--%s is in no group", flag.Name)
				}
				if variable != envName(flag.Name) {
					t.Errorf("--%s has the variable %q", flag.Name, variable)
				}
			}
			if len(flag.Envs) != 0 || len(flag.Tag.Envs) != 0 {
				t.Errorf("%s --%s: kong would read the environment of the process", command.Name, flag.Name)
			}
			// One variable must mean the same to all commands; here it may at least not be read as two kinds of value.
			kind := flag.Target.Type().String()
			if was, ok := seen[variable]; ok && variable != "" && was != kind && variable != "BEELINE_TOKEN_KEY" {
				t.Errorf("%s is a %s here and a %s there", variable, kind, was)
			}
			seen[variable] = kind
		}
	}
}

func TestHelpOfAnEdgeTeaches(t *testing.T) {
	t.Parallel()
	r := call(t, "", nil, "edge", "--help")
	if r.code != exitOK || r.stderr != "" {
		t.Fatalf("%+v", r)
	}
	at := 0
	for _, heading := range []string{"\nCluster\n", "\nClients\n", "\nTokens\n", "\nNATS\n", "\nRedis\n", "\nLimits\n", "\nTimes\n", "\nOperation\n"} {
		next := strings.Index(r.stdout, heading)
		if next < at {
			t.Errorf("%q is missing, or not in its place", heading)
		}
		at = max(at, next)
	}
	for _, words := range []string{
		"BEELINE_MAX_FRAME", "--max-frame=64KiB", "--heartbeat=25s", "--sessions=many", "--listen=127.0.0.1:8080", "--redis-password-file=FILE",
	} {
		if !strings.Contains(r.stdout, words) {
			t.Errorf("the help does not have %q", words)
		}
	}
	for line := range strings.Lines(r.stdout) {
		if len(line) > 81 {
			t.Errorf("too wide for a terminal: %q", line)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--version"}, {"edge", "--version"}} {
		r := call(t, "", nil, args...)
		if r.code != exitOK || !strings.HasPrefix(r.stdout, "beeline ") {
			t.Errorf("%q: %+v", args, r)
		}
		oneLine(t, r.stdout)
	}
}

func TestNoCommandShowsWhatThereIs(t *testing.T) {
	t.Parallel()
	r := call(t, "", nil)
	if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, "dev ") || !strings.Contains(r.stderr, "chat ") {
		t.Errorf("%+v", r)
	}
}

func TestWrongUsageIsOneLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args  string
		words []string
	}{
		{"sned", []string{"sned", "beeline --help"}},
		{"edge --nod a1", []string{"--nod", "--node", "beeline edge --help"}},
		{"edge --node a1 --max-frame lots", []string{"--max-frame", "lots", "64KiB"}},
		{"edge --node a1 --heartbeat 5", []string{"--heartbeat", "duration"}},
		{"edge --node a1 --log-level loud", []string{"--log-level", "loud", "debug"}},
		{"edge --node a1 --proxy-trust here", []string{"--proxy-trust", "here", "10.0.0.0/8"}},
		{"edge --token-key EdDSA:@k", []string{"--node", "a1"}},
		{"edge --node a1", []string{"token-key"}},
		{"edge --node A1 --anonymous", []string{"node"}},
		{"edge --node a1 --anonymous --sessions few", []string{"sessions", "many"}},
		{"edge --node a1 --anonymous --nats-cert x", []string{"--nats-cert", "--nats-key"}},
		{"edge --node a1 --anonymous --redis-password x --redis-password-file y", []string{"--redis-password-file"}},
		{"edge --node a1 --anonymous --redis-password-file /nowhere/at/all", []string{"--redis-password-file", "/nowhere/at/all"}},
		{"edge --node a1 --anonymous --nats-creds /nowhere/at/all", []string{"--nats-creds", "/nowhere/at/all"}},
		{"edge --config /nowhere/at/all", []string{"configuration", "/nowhere/at/all"}},
		{"dev --redis mine", []string{"--redis", "mine", "embedded"}},
		{"token", []string{"--key", "--client", "--new-key"}},
		{"token --key what --client bob", []string{"--key"}},
		{"token --new-key ROT13", []string{"--new-key", "EdDSA"}},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			call(t, "", nil, strings.Fields(test.args)...).refused(t, test.words...)
		})
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]size{"0": 0, "65536": 65536, "64KiB": 65536, "1 MiB": 1 << 20, "3GiB": 3 << 30, "17B": 17} {
		var got size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
		var again size
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != want {
			t.Errorf("%q came back as %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5MiB", "1k", "99999999999GiB", "9223372036854775808"} {
		if new(size).UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
