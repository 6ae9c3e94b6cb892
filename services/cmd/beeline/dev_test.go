package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
)

// devURLs returns where clients connect, once everything runs.
func devURLs(t *testing.T, b *background) []string {
	t.Helper()
	text := b.stdout.wait(t, "send --as alice --group room")
	var urls []string
	for _, line := range regexp.MustCompile(`(?m)^  edge a\d +(ws://\S+)`).FindAllStringSubmatch(text, -1) {
		urls = append(urls, line[1])
	}
	if len(urls) != 2 {
		t.Fatalf("not two edges: %s", text)
	}
	return urls
}

// address returns where a part of dev is.
func (b *background) address(part string) string {
	return regexp.MustCompile(`(?m)^  ` + part + ` +(\S+)`).FindStringSubmatch(b.stdout.String())[1]
}

// startDev runs a system on free ports.
func startDev(t *testing.T, args ...string) (*background, []string) {
	t.Helper()
	b := begin(t, nil, append([]string{"dev", "--port", "0", "--admin-port", "0"}, args...)...)
	return b, devURLs(t, b)
}

func TestDevCarriesMessagesBetweenItsEdges(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{redisServer, redisEmbedded} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dev, urls := startDev(t, "--redis", kind)
			bob := begin(t, nil, "listen", "--as", "bob", "--url", urls[0], "--count", "3")
			bob.stderr.wait(t, "connected to edge a1 of cluster a as bob\n")
			for _, edge := range urls {
				r := call(t, "", []string{"BEELINE_URL=" + edge}, "send", "--as", "alice", "--to", "bob", `{"hi": 1}`)
				if r != (result{exitOK, "delivered\n", ""}) {
					t.Errorf("%+v", r)
				}
			}
			r := call(t, "hello\n", nil, "send", "--as", "alice", "--to", "bob", "--url", urls[1], "--text", "-")
			if r.code != exitOK {
				t.Errorf("%+v", r)
			}
			if code := bob.exit(t); code != exitOK {
				t.Errorf("listen ended with %d", code)
			}
			if got := bob.stdout.String(); got != "alice: {\"hi\": 1}\nalice: {\"hi\": 1}\nalice: \"hello\"\n" {
				t.Errorf("bob got %q", got)
			}
			dev.stop()
			if code := dev.exit(t); code != exitOK {
				t.Errorf("dev ended with %d: %s", code, dev.stderr)
			}
		})
	}
}

func TestDevCarriesMessagesToAGroup(t *testing.T) {
	t.Parallel()
	_, urls := startDev(t, "--redis", redisEmbedded)
	send := func(want string, args ...string) {
		t.Helper()
		r := call(t, "", nil, append([]string{"send", "--as", "alice", "--url", urls[1]}, args...)...)
		if r != (result{exitOK, want + "\n", ""}) {
			t.Errorf("%+v", r)
		}
	}
	send("sent to 0 nodes: the group has no members", "--group", "room", "0")
	var members []*background
	for i, who := range []string{"bob", "carol"} {
		b := begin(t, nil, "listen", "--as", who, "--group", "room", "--group", "news", "--url", urls[i], "--count", "3", "--json="+strconv.FormatBool(i == 1))
		b.stderr.wait(t, "joined room\njoined news\n")
		members = append(members, b)
		send([]string{"sent to 1 node", "sent to 2 nodes"}[i], "--group", []string{"news", "room"}[i], `{"hi":1}`)
		send("delivered", "--to", who, "2")
	}
	// Bob's edge may not have left yet.
	if r := call(t, "", nil, "send", "--as", "alice", "--url", urls[1], "--group", "news", "3"); r.code != exitOK || !strings.HasPrefix(r.stdout, "sent to ") {
		t.Errorf("%+v", r)
	}
	for i, want := range []string{
		"news alice: {\"hi\":1}\nalice: 2\nroom alice: {\"hi\":1}\n",
		`{"msg":{"from":"alice","group":"room","data":{"hi":1}}}` + "\n" + `{"msg":{"from":"alice","data":2}}` + "\n" +
			`{"msg":{"from":"alice","group":"news","data":3}}` + "\n",
	} {
		if code := members[i].exit(t); code != exitOK || members[i].stdout.String() != want {
			t.Errorf("%d, %q", code, members[i].stdout)
		}
	}
}

func TestListenWatches(t *testing.T) {
	t.Parallel()
	_, urls := startDev(t, "--redis", redisEmbedded)
	alice := begin(t, nil, "listen", "--as", "alice", "--watch", "carol", "--watch", "alice", "--group", "room", "--url", urls[0])
	alice.stdout.wait(t, "alice is online\ncarol is offline\n")
	carol := begin(t, nil, "listen", "--as", "carol", "--watch", "alice", "--json", "--count", "1", "--url", urls[1])
	alice.stdout.wait(t, "carol is online\n")
	carol.stdout.wait(t, `{"presence":{"client":"alice","online":true}}`+"\n")
	for _, to := range [][]string{{"--group", "room"}, {"--to", "carol"}} {
		if r := call(t, "", nil, append([]string{"send", "--as", "bob", "--url", urls[0], "1"}, to...)...); r.code != exitOK {
			t.Errorf("%+v", r)
		}
	}
	if code := carol.exit(t); code != exitOK {
		t.Errorf("carol ended with %d: %s", code, carol.stderr)
	}
	alice.stdout.wait(t, "alice is online\ncarol is offline\ncarol is online\nroom bob: 1\ncarol is offline\n")
	alice.stop()
	if code := alice.exit(t); code != exitOK {
		t.Errorf("alice ended with %d: %s", code, alice.stderr)
	}
}

func TestSendToNobody(t *testing.T) {
	t.Parallel()
	_, urls := startDev(t, "--redis", redisEmbedded)
	r := call(t, "", nil, "send", "--as", "alice", "--to", "bob", "--url", urls[0], "{}")
	if r.code != exitFailed || r.stdout != "" || r.stderr != "offline: bob is not connected\n" {
		t.Errorf("%+v", r)
	}
}

func TestChat(t *testing.T) {
	t.Parallel()
	_, urls := startDev(t, "--redis", redisEmbedded)
	alice := begin(t, nil, "chat", "--as", "alice", "--to", "bob", "--url", urls[0])
	alice.stderr.wait(t, "connected")
	say(t, alice, "too early")
	alice.stdout.wait(t, "✗ offline: bob is not connected\n")

	bob := begin(t, nil, "chat", "--as", "bob", "--to", "alice", "--url", urls[1])
	bob.stderr.wait(t, "connected")
	say(t, bob, `it's "me" \o/ é`)
	bob.stdout.wait(t, "✓ delivered\n")
	alice.stdout.wait(t, "bob: it's \"me\" \\o/ é\n")
	say(t, alice, "hi")
	bob.stdout.wait(t, "alice: hi\n")

	bob.stdin.Close()
	if code := bob.exit(t); code != exitOK {
		t.Errorf("bob ended with %d", code)
	}
	alice.stdin.Close()
	if code := alice.exit(t); code != exitFailed {
		t.Errorf("alice, who was not always heard, ended with %d", code)
	}
	if got := alice.stderr.String(); strings.Count(got, "\n") != 1 {
		t.Errorf("alice was told twice: %q", got)
	}
}

func TestListenSendAndChatOverTCP(t *testing.T) {
	t.Parallel()
	dev, urls := startDev(t, "--redis", redisEmbedded)
	tcp := regexp.MustCompile(`tcp://127\.0\.0\.1:\d+`).FindAllString(dev.stdout.String(), -1)
	if len(tcp) != 6 {
		t.Fatalf("%s", dev.stdout)
	}
	tcp = slices.Concat(tcp[1:3], tcp[4:]) // without those of the gateways
	bob := begin(t, nil, "listen", "--as", "bob", "--url", tcp[0], "--count", "3")
	bob.stderr.wait(t, "connected to edge a1 of cluster a as bob\n")
	for _, url := range []string{tcp[1], urls[1], tcp[3]} {
		if r := call(t, "", nil, "send", "--as", "alice", "--to", "bob", "--url", url, "1"); r != (result{exitOK, "delivered\n", ""}) {
			t.Errorf("%+v", r)
		}
	}
	if code := bob.exit(t); code != exitOK {
		t.Errorf("listen ended with %d", code)
	}
	carol := begin(t, nil, "chat", "--as", "carol", "--to", "carol", "--url", tcp[1])
	carol.stderr.wait(t, "connected")
	say(t, carol, "hi")
	carol.stdout.wait(t, "carol: hi\n")
}

// say types a line.
func say(t *testing.T, b *background, text string) {
	t.Helper()
	if _, err := io.WriteString(b.stdin, text+"\n"); err != nil {
		t.Fatal(err)
	}
}

func TestPipedChat(t *testing.T) {
	t.Parallel()
	_, urls := startDev(t, "--redis", redisEmbedded)
	bob := begin(t, nil, "listen", "--as", "bob", "--url", urls[1], "--json", "--count", "2")
	bob.stderr.wait(t, "connected")
	r := call(t, "one\n\ntwo", nil, "chat", "--as", "alice", "--to", "bob", "--url", urls[0])
	if r.code != exitOK || r.stdout != "  ✓ delivered\n  ✓ delivered\n" {
		t.Errorf("%+v", r)
	}
	if code := bob.exit(t); code != exitOK {
		t.Errorf("listen ended with %d", code)
	}
	var texts []string
	for line := range strings.Lines(bob.stdout.String()) {
		var e contracts.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Msg == nil || e.Msg.From != "alice" {
			t.Fatalf("%q: %v", line, err)
		}
		texts = append(texts, string(e.Msg.Data))
	}
	if got := strings.Join(texts, " "); got != `"one" "two"` {
		t.Errorf("bob got %s", got)
	}
}

func TestListenEndsInTime(t *testing.T) {
	t.Parallel()
	_, urls := startDev(t, "--redis", redisEmbedded)
	listen := []string{"listen", "--as", "bob", "--url", urls[0], "--timeout", "500ms"}
	if r := call(t, "", nil, listen...); r.code != exitOK || r.stdout != "" {
		t.Errorf("%+v", r)
	}
	r := call(t, "", nil, append(listen, "--count", "1")...)
	if r.code != exitFailed || !strings.Contains(r.stderr, "beeline: 0 of 1 messages came within 500ms\n") {
		t.Errorf("%+v", r)
	}
}

func TestListenGoesOnOverReconnects(t *testing.T) {
	t.Parallel()
	dev, urls := startDev(t, "--redis", redisEmbedded)
	port := regexp.MustCompile(`:(\d+)/`).FindStringSubmatch(urls[0])[1]
	bob := begin(t, nil, "listen", "--as", "bob", "--url", urls[0], "--count", "1")
	bob.stderr.wait(t, "connected to")
	dev.stop()
	if code := dev.exit(t); code != exitOK {
		t.Fatalf("dev ended with %d", code)
	}
	bob.stderr.wait(t, "not connected: ")
	begin(t, nil, "dev", "--port", port, "--admin-port", "0", "--redis", redisEmbedded)
	bob.stderr.wait(t, "connected again to")
	if r := call(t, "", nil, "send", "--as", "alice", "--to", "bob", "--url", urls[0], "1"); r.code != exitOK {
		t.Errorf("%+v", r)
	}
	if code := bob.exit(t); code != exitOK || bob.stdout.String() != "alice: 1\n" {
		t.Errorf("%d, %q", code, bob.stdout)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	r := call(t, "", nil, "send", "--as", "alice", "--to", "bob", "--url", "127.0.0.1:"+strconv.Itoa(port), "1")
	if r.code != exitFailed || !strings.Contains(r.stderr, "beeline dev") {
		t.Errorf("%+v", r)
	}
	oneLine(t, r.stderr)
}

func TestDevTakesFreePortsInPlaceOfTakenOnes(t *testing.T) {
	t.Parallel()
	l, err := listen(0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	dev := begin(t, nil, "dev", "--port", port, "--admin-port", "0", "--redis", redisEmbedded)
	urls := devURLs(t, dev)
	if strings.Contains(urls[0], ":"+port+"/") || !regexp.MustCompile(`already in use, so that free ports were taken instead: (\d+, )*`+port+`\b`).MatchString(dev.stdout.String()) {
		t.Errorf("%s", dev.stdout)
	}
}

func TestDevAnswersToItsAdmin(t *testing.T) {
	t.Parallel()
	dev, _ := startDev(t, "--redis", redisEmbedded)
	admin := regexp.MustCompile(`admin (http://\S+)`).FindStringSubmatch(dev.stdout.String())[1]
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("status %s", answer.Status)
	}
}

func TestDevSaysWhyItEnds(t *testing.T) {
	t.Parallel()
	dev := begin(t, func(context.Context, node.Config) (runningNode, error) {
		n := &fakeNode{done: make(chan struct{}), err: io.ErrUnexpectedEOF}
		close(n.done)
		return n, nil
	}, "dev", "--redis", redisEmbedded, "--port", "0", "--admin-port", "0")
	if code := dev.exit(t); code != exitFailed || !strings.Contains(dev.stderr.String(), "cannot go on: unexpected EOF\n") ||
		!strings.Contains(dev.stderr.String(), "edge ") {
		t.Errorf("%d: %s", code, dev.stderr)
	}
}

func TestDevLeavesNothingWhenAPartDoesNotStart(t *testing.T) {
	t.Parallel()
	dev := begin(t, func(context.Context, node.Config) (runningNode, error) { return nil, io.ErrUnexpectedEOF },
		"dev", "--redis", redisEmbedded, "--port", "0", "--admin-port", "0")
	if code := dev.exit(t); code != exitFailed || dev.stderr.String() != "beeline: edge a1 did not start: unexpected EOF\n" {
		t.Errorf("%d: %s", code, dev.stderr)
	}
}

func TestEdgeAndTokens(t *testing.T) {
	t.Parallel()
	dev, _ := startDev(t, "--redis", redisEmbedded)
	key := filepath.Join(t.TempDir(), "key")
	if r := call(t, "", nil, "token", "--new-key", "EdDSA", "--out", key); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	edge := begin(t, nil, "edge", "--node", "b1", "--listen", "127.0.0.1:0", "--admin", "none", "--nats-url", dev.address("NATS"),
		"--redis-addr", dev.address("Redis"), "--token-key", "EdDSA:@"+key+".pub", "--drain-time", "0s")
	url := regexp.MustCompile(`ws://\S+`).FindString(edge.stdout.wait(t, "edge b1 of cluster a is ready: ws://"))

	r := call(t, "", nil, "send", "--as", "alice", "--to", "bob", "--url", url, "1")
	if r.code != exitFailed || !strings.HasPrefix(r.stderr, "unauthorized: ") {
		t.Errorf("%+v", r)
	}
	token := strings.TrimSpace(call(t, "", nil, "token", "--key", "EdDSA:@"+key, "--client", "bob", "--send", "*").stdout)
	call(t, "", []string{"BEELINE_TOKEN=" + token}, "send", "--as", "alice", "--to", "bob", "--url", url, "1").refused(t, "--as alice", "bob")
	bob := begin(t, nil, "listen", "--token-file", file(t, token+"\n"), "--device", "phone", "--url", url, "--count", "1")
	bob.stderr.wait(t, "connected to edge b1 of cluster a as bob\n")
	if r := call(t, "", []string{"BEELINE_TOKEN=" + token}, "send", "--to", "bob", "--url", url, "1"); r.stdout != "delivered\n" {
		t.Errorf("%+v", r)
	}
	if code := bob.exit(t); code != exitOK || bob.stdout.String() != "bob: 1\n" {
		t.Errorf("%d, %q", code, bob.stdout)
	}
	refused := call(t, "", []string{"BEELINE_TOKEN=" + token}, "send", "--group", "room", "--url", url, "1")
	if refused.code != exitFailed || !strings.HasPrefix(refused.stderr, "forbidden: group room: ") {
		t.Errorf("%+v", refused)
	}
	refused = call(t, "", []string{"BEELINE_TOKEN=" + token}, "listen", "--group", "room", "--url", url)
	if refused.code != exitFailed || !strings.Contains(refused.stderr, "forbidden: group room: ") {
		t.Errorf("%+v", refused)
	}
	refused = call(t, "", []string{"BEELINE_TOKEN=" + token}, "listen", "--watch", "carol", "--url", url)
	if refused.code != exitFailed || !strings.Contains(refused.stderr, "forbidden: watch: ") {
		t.Errorf("%+v", refused)
	}
	edge.stop()
	if code := edge.exit(t); code != exitOK {
		t.Errorf("the edge ended with %d: %s", code, edge.stderr)
	}
}
