package main

import (
	"strings"
	"testing"
)

func TestCallReachesTheExampleService(t *testing.T) {
	t.Parallel()
	_, urls := startDev(t, "--redis", redisEmbedded)
	echo := func(url string, args ...string) result {
		t.Helper()
		return call(t, "", nil, append([]string{"call", "--as", "alice", "--service", "echo", "--url", url}, args...)...)
	}
	first := echo(urls[0], "--key", "k1", `{"n":1}`)
	if first.code != exitOK || !strings.HasPrefix(first.stdout, `{"instance":"echo-`) || !strings.HasSuffix(first.stdout, `","data":{"n":1}}`+"\n") {
		t.Fatalf("%+v", first)
	}
	for _, url := range urls {
		if again := echo(url, "--key", "k1", `{"n":1}`); again != first {
			t.Errorf("the same key at %s: %+v, not %+v", url, again, first)
		}
	}
	if r := echo(urls[0], "--key", "k1", crashWord); r.code != exitFailed || !strings.Contains(r.stderr, "unavailable: service echo: the instance that had the call is gone") {
		t.Errorf("a call that has its instance crash: %+v", r)
	}
	next := echo(urls[1], "--key", "k1", `{"n":1}`)
	if next.code != exitOK || next.stdout == first.stdout {
		t.Errorf("after that: %+v, and before %+v", next, first)
	}
	if again := echo(urls[0], "--key", "k1", `{"n":1}`); again.stdout != next.stdout {
		t.Errorf("the same key at the other edge: %+v, not %+v", again, next)
	}
	if r := echo(urls[0], "--text", "hello"); r.code != exitOK || !strings.HasSuffix(r.stdout, `"data":"hello"}`+"\n") {
		t.Errorf("%+v", r)
	}
	none := call(t, "", nil, "call", "--as", "alice", "--service", "none", "--url", urls[0], "1")
	if none.code != exitFailed || !strings.Contains(none.stderr, "unavailable: service none: no instance of this service is known") {
		t.Errorf("%+v", none)
	}
}

func TestCallRefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		word string
	}{
		{[]string{"1"}, "--service"},
		{[]string{"--service", "Echo", "1"}, "--service"},
		{[]string{"--service", "echo", "--key", "a b", "1"}, "--key"},
		{[]string{"--service", "echo", "{"}, "not JSON"},
		{[]string{"--service", "echo", "--timeout", "0s", "1"}, "--timeout"},
	} {
		call(t, "", nil, append([]string{"call", "--as", "alice"}, c.args...)...).refused(t, c.word)
	}
}

func TestServicesStandInTheFileAsInOneOfTheirOwn(t *testing.T) {
	t.Parallel()
	path := file(t, "node: a1\nservices:\n  orders:\n    key: data.cart\n    timeout: 2s\n    http:\n      - http://10.0.0.1:8080/rpc\n  plain:\n")
	cfg := edgeConfig(t, "--config", path)
	orders, ok := cfg.Calls.Services["orders"]
	if _, plain := cfg.Calls.Services["plain"]; !ok || !plain || orders.Key != "data.cart" || orders.Timeout.Seconds() != 2 || len(orders.HTTP) != 1 {
		t.Errorf("%+v", cfg.Calls.Services)
	}
	grammar, _, k := parser(t)
	if _, err := k.Parse([]string{"edge", "--node", "a1", "--services", "{orders: {polcy: hash}}"}); err != nil {
		t.Fatal(err)
	}
	if _, err := grammar.Edge.config(); err == nil || !strings.Contains(err.Error(), "polcy") {
		t.Errorf("a misspelled setting: %v", err)
	}
}
