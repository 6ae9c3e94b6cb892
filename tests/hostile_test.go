package tests

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// alive shows that the node still carries messages.
func alive(t *testing.T, f *fleet.Fleet) {
	t.Helper()
	a, b := f.Dial(0, "still-here"), f.Dial(0, "also-here")
	if got := a.Send("also-here", `"ok"`); got != "delivered" {
		t.Fatal("afterwards the node answers:", got)
	}
	b.Expect("still-here", `"ok"`)
	a.Close()
	b.Close()
}

func TestBadRequestsAreClearErrors(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	send := func(to string) string { return fmt.Sprintf(`{"id":1,"send":{"to":%s,"data":1}}`, to) }
	cases := []struct{ name, frame, says string }{
		{"not JSON", `hello`, "JSON"},
		{"half an object", `{"id":1,"send":`, "JSON"},
		{"an array", `[]`, "JSON"},
		{"no operation", `{"id":1}`, "no operation"},
		{"unknown operation", `{"id":1,"shout":{}}`, "unknown operation"},
		{"two operations", `{"id":1,"ping":{},"send":{"to":"b","data":1}}`, "more than one"},
		{"no id", `{"send":{"to":"bob","data":1}}`, "needs an id"},
		{"no to", `{"id":1,"send":{"data":1}}`, "needs to"},
		{"no data", `{"id":1,"send":{"to":"bob"}}`, "needs data"},
		{"misspelt field", `{"id":1,"send":{"to":"bob","date":1,"data":1}}`, "unknown field"},
		{"field twice", `{"id":1,"send":{"to":"bob","to":"eve","data":1}}`, "twice"},
		{"text as id", `{"id":"1","send":{"to":"bob","data":1}}`, "integer"},
		{"negative id", `{"id":-1,"send":{"to":"bob","data":1}}`, "integer"},
		{"huge id", `{"id":9007199254740992,"send":{"to":"bob","data":1}}`, "integer"},
		{"number as to", send(`1`), "must be a string"},
		{"star", send(`"*"`), "byte 1"},
		{"greater", send(`">"`), "byte 1"},
		{"space", send(`"a b"`), "byte 2"},
		{"NUL", send(`"a\u0000"`), "byte 2"},
		{"CRLF", send(`"a\r\nb"`), "byte 2"},
		{"dots are fine, slashes are not", send(`"a/b"`), "byte 2"},
		{"braces", send(`"{a}"`), "byte 1"},
		{"homoglyph", send(`"bоb"`), "byte 2"}, // a Cyrillic o
		{"empty", send(`""`), "empty"},
		{"10 KB id", send(`"` + strings.Repeat("a", 10<<10) + `"`), "at most 128"},
		{"bottomless data", `{"id":1,"send":{"to":"bob","data":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}`, "JSON"},
		{"second log-in", `{"auth":{"client":"eve"}}`, "already"},
	}
	for _, c := range []*fleet.Client{f.Dial(0, "alice"), f.DialTCP(0, "alice-by-tcp")} {
		for _, test := range cases {
			c.Raw(test.frame)
			e := c.Next()
			if e.Error == nil || e.Error.Code != contracts.CodeBadRequest || !strings.Contains(e.Error.Message, test.says) {
				t.Errorf("%s, %s: got %+v, no bad_request that says %q", c.Name, test.name, e.Error, test.says)
			}
		}
	}
	alive(t, f)
}

func TestBadFramesEndTheConnectionAndNothingElse(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.Edge.AuthTimeout = 2 * time.Second }))
	cases := []struct {
		name string
		do   func(c *fleet.Client)
		code contracts.CloseCode
		tcp  bool // the same over raw TCP
	}{
		{"bad UTF-8", func(c *fleet.Client) { c.Raw("{\"id\":1,\"send\":{\"to\":\"b\",\"data\":\"\xff\"}}") }, contracts.CloseInvalidData, true},
		{"binary", func(c *fleet.Client) { _ = c.WS().WriteMessage(websocket.BinaryMessage, []byte("{}")) }, contracts.ClosePolicy, false},
		{"10 MB", func(c *fleet.Client) { _ = c.TryRaw(string(make([]byte, 10<<20))) }, contracts.CloseTooBig, true},
		{"request before log-in", func(c *fleet.Client) { c.Raw(`{"id":1,"send":{"to":"b","data":1}}`) }, contracts.CloseUnauthorized, true},
		{"no log-in", func(*fleet.Client) {}, contracts.CloseUnauthorized, true},
		{"bad name", func(c *fleet.Client) { c.Raw(`{"auth":{"client":"*"}}` + "\n" + `{"auth":{"token":"x"}}`) }, contracts.CloseUnauthorized, true},
		{"ping flood", func(c *fleet.Client) {
			for range 200 {
				if c.WS().WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) != nil {
					return
				}
			}
		}, contracts.ClosePolicy, false},
	}
	for _, test := range cases {
		for _, over := range []string{"WebSocket", "TCP"} {
			var c *fleet.Client
			switch {
			case over == "WebSocket":
				c = f.Connect(0, nil)
			case test.tcp:
				c = f.ConnectTCP(0)
			default:
				continue
			}
			test.do(c)
			if code := c.Closed(); code != int(test.code) {
				t.Errorf("%s over %s: closed with %d, not %d", test.name, over, code, test.code)
			}
		}
	}
	alive(t, f)
}

func TestTenThousandRequestsInOneFrame(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) {
		c.Edge.MaxFrame = 512 << 10
		c.Edge.MessageRate, c.Edge.MessageBurst, c.Edge.RateStrikes = 100, 500, 2000
		c.Edge.ByteBurst = 1 << 20
	}))
	for _, c := range []*fleet.Client{f.Dial(0, "greedy"), f.DialTCP(0, "greedy-by-tcp")} {
		c.Raw(strings.Repeat(`{"id":1,"send":{"to":"bob","data":1}}`+"\n", 10_000))
		counts := map[string]int{}
		var closed *websocket.CloseError
		for {
			e, err := c.TryNext(fleet.Patience)
			if err != nil {
				_ = errors.As(err, &closed)
				break
			}
			counts[fleet.Outcome(e)]++
		}
		if closed == nil || closed.Code != int(contracts.CloseRate) {
			t.Errorf("%s: closed with %v, not 4429", c.Name, closed)
		}
		if counts["offline"] > 500 || counts["rate_limited"] != 2000 {
			t.Errorf("%s: answers: %v", c.Name, counts)
		}
	}
	alive(t, f)
}

func TestForeignOriginsAreRefused(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.Edge.Origins = []string{"https://app.example.org", "http://localhost:3000"} }))
	foreign := []string{
		"null", "", " ", "*", "https://", "https://evil.example", "http://app.example.org", "https://app.example.org.evil.example",
		"https://evil-app.example.org", "https://xapp.example.org", "https://app.example.org:8443", "https://app.example.org:443",
		"https://app.example.org/", "https://app.example.org/path", "https://app.example.org@evil.example", "https://user@app.example.org",
		"https://app.example.or", "https://app.example.orgg", "https://app.example.org%2eevil.example", "https://app.example.org\tx",
		"//app.example.org", "app.example.org", "ws://app.example.org", "wss://app.example.org", "file://", "chrome-extension://abc",
		"https://sub.app.example.org", "https://example.org", "http://localhost", "http://localhost:3001", "http://127.0.0.1:3000",
		"https://app.example.org, https://evil.example", "https://аpp.example.org",
	}
	for _, origin := range foreign {
		_, status, err := f.TryConnect(0, http.Header{"Origin": {origin}})
		if err == nil || status != http.StatusForbidden {
			t.Errorf("origin %q was not refused with 403: %v", origin, err)
		}
	}
	if _, status, err := f.TryConnect(0, http.Header{"Origin": {"https://app.example.org", "https://evil.example"}}); err == nil || status != http.StatusForbidden {
		t.Error("two origins were not refused")
	}
	for _, origin := range []string{"https://app.example.org", "HTTPS://APP.example.org", "http://localhost:3000"} {
		if _, _, err := f.TryConnect(0, http.Header{"Origin": {origin}}); err != nil {
			t.Errorf("origin %q was refused: %v", origin, err)
		}
	}
	alive(t, f)
}

func TestHalfAHandshakeHoldsUpNobody(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	addr := strings.TrimSuffix(strings.TrimPrefix(f.Nodes[0].URL(), "ws://"), node.ClientPath)
	var halves []net.Conn
	for range 50 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = c.Write([]byte("GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: webso"))
		halves = append(halves, c)
	}
	alive(t, f)
	_ = halves[0].SetReadDeadline(time.Now().Add(fleet.Patience))
	if _, err := halves[0].Read(make([]byte, 1)); err == nil {
		_, err = halves[0].Read(make([]byte, 4096))
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("half a handshake is kept for ever")
		}
	}
}
