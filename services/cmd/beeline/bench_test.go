package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestBenchOfARunningSystemChargesWhomItIsTold(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // elsewhere there is no /proc
	}
	key := filepath.Join(t.TempDir(), "key")
	if r := call(t, "", nil, "token", "--new-key", "EdDSA", "--out", key); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	dev, _ := startDev(t, "--redis", redisEmbedded)
	edge := begin(t, nil, "edge", "--node", "b1", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats-url", dev.address("NATS"),
		"--redis-addr", dev.address("Redis"), "--token-key", "EdDSA:@"+key+".pub", "--drain-time", "0s")
	words := strings.Fields(edge.stdout.wait(t, "http://"))
	url, admin := words[len(words)-3], words[len(words)-1]
	direct := []string{"bench", "direct", "--pairs", "2", "--rate", "50", "--warm-up", "0s", "--for", "200ms", "--json", "--url", url}
	for who, flags := range map[string][]string{
		"b1":    {"--pids", "b1=" + strconv.Itoa(os.Getpid())},
		"edge1": {"--admin", admin},
	} {
		r := call(t, "", nil, append(append(direct, "--token-key", "EdDSA:@"+key), flags...)...)
		if r.code != exitOK || !strings.Contains(r.stdout, `"cpu_us_per_delivery.`+who+`":`) {
			t.Errorf("%+v", r)
		}
	}
	if r := call(t, "", nil, direct...); r.code != exitFailed || !strings.Contains(r.stderr, "unauthorized") || !strings.Contains(r.stderr, "--token-key") {
		t.Errorf("%+v", r)
	}
}

func TestBenchRefusesWhatCannotBeMeasured(t *testing.T) {
	t.Parallel()
	for args, words := range map[string][]string{
		"direct":                               {"--self", "--url"},
		"direct --self --url ws://127.0.0.1":   {"--self", "leave out"},
		"direct --url 127.0.0.1:1 --pids 12":   {"--pids", "a1=4711"},
		"direct --self --size 1":               {"size", "beeline bench direct --help"},
		"direct --self --burst 300":            {"burst"},
		"direct --self --pairs 600000000":      {"ulimit -n"},
		"idle --self --connections 2000000000": {"--edges", "ulimit -n"},
		"idle --url 127.0.0.1:1 --rounds 2":    {"--rounds", "--self"},
		"storm --url 127.0.0.1:1":              {"--kill"},
		"storm --self --edges 1":               {"two nodes"},
		"churn --self --share 2":               {"share"},
		"check --rounds 0":                     {"--rounds"},
		"gateway --rounds 0":                   {"--rounds"},
		"gateway --connections 2000000000":     {"ulimit -n"},
		"gateway --haproxy nonsense":           {"--haproxy", "install HAProxy"},
		"calls --http --url 127.0.0.1:1":       {"--http", "--self"},
		"calls --self --http --floor":          {"--floor", "--http"},
		"calls --self --http --nginx nonsense": {"--nginx", "install nginx"},
		"direct --self --nonsense":             {"beeline bench direct --help"},
	} {
		call(t, "", nil, append([]string{"bench"}, strings.Fields(args)...)...).refused(t, words...)
	}
}

func TestHelpOfBenchTeaches(t *testing.T) {
	t.Parallel()
	for command, words := range map[string][]string{
		"":       {"beeline bench direct --self", "direct", "fanout", "idle", "storm", "churn", "gateway", "check"},
		"direct": {"--floor", "--rate 5000", "when a message was due"},
	} {
		r := call(t, "", nil, strings.Fields("bench "+command+" --help")...)
		for _, word := range words {
			if !strings.Contains(r.stdout, word) {
				t.Errorf("bench %s --help does not have %q", command, word)
			}
		}
		if strings.Contains(r.stdout, "part ") && command == "" {
			t.Errorf("the hidden command is shown: %s", r.stdout)
		}
	}
}
