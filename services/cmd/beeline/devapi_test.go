package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// What the page for backends says can be pasted is done to a running dev, as curl would.
func TestTheExamplesForBackendsWorkWhenPasted(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../api/README.md")
	if err != nil {
		t.Fatal(err)
	}
	dev, urls := startDev(t, "--redis", redisEmbedded)
	api := regexp.MustCompile(` api (http://\S+)`).FindStringSubmatch(dev.stdout.String())
	if api == nil {
		t.Fatalf("no address for backends: %s", dev.stdout)
	}
	bob := begin(t, nil, "listen", "--as", "bob", "--group", "room", "--url", urls[1], "--count", "5")
	bob.stderr.wait(t, "joined room\n")
	commands := regexp.MustCompile(`(?m)^curl (.*)$`).FindAllStringSubmatch(string(page), -1)
	if len(commands) != 8 {
		t.Fatalf("%d examples were found", len(commands))
	}
	for _, c := range commands {
		address := strings.Replace(c[1][strings.LastIndexByte(c[1], ' ')+1:], "http://127.0.0.1:8091", api[1], 1)
		body := regexp.MustCompile(` -d '([^']*)'`).FindStringSubmatch(c[1])[1]
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range regexp.MustCompile(`-H '([^']*): ([^']*)'`).FindAllStringSubmatch(c[1], -1) {
			req.Header.Set(h[1], h[2])
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(text), `{"ok":`) {
			t.Errorf("%s: %d %s", c[0], resp.StatusCode, text)
		}
	}
	want := "shop: {\"text\":\"on its way\"}\nroom shop: \"hello all\"\nshop: \"hello\"\nshop: 1\nshop: 7\n"
	if code := bob.exit(t); code != exitOK || bob.stdout.String() != want {
		t.Errorf("%d, bob got %q", code, bob.stdout)
	}
}
