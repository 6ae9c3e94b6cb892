package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAddressOfAnEdge(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"ws://h:1":          "ws://h:1/v1/ws",
		"ws://h:1/":         "ws://h:1/v1/ws",
		"wss://h/own/path":  "wss://h/own/path",
		"h:1":               "ws://h:1/v1/ws",
		"https://h?room=r1": "wss://h/v1/ws?room=r1",
		"http://[::1]:1":    "ws://[::1]:1/v1/ws",
		"tcp://h:1":         "tcp://h:1",
		"tls://h:1?c=a&k=b": "tls://h:1?c=a&k=b",
	} {
		if got, err := (connectFlags{URL: given}).address(); err != nil || got != want {
			t.Errorf("%q is %q, %v", given, got, err)
		}
	}
	for _, given := range []string{"", "ftp://h", "ws://", "ws://h:port", "ws://a b", "tcp://h", "tcp://h:1/v1/ws"} {
		if got, err := (connectFlags{URL: given}).address(); err == nil {
			t.Errorf("%q is %q", given, got)
		}
	}
}

func TestClientUsageIsOneLine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args  []string
		words []string
	}{
		"nobody":       {[]string{"listen"}, []string{"--as", "--token"}},
		"bad name":     {[]string{"listen", "--as", "no spaces"}, []string{"--as", "a-z", "128"}},
		"bad device":   {[]string{"listen", "--as", "bob", "--device", "x y"}, []string{"--device"}},
		"bad URL":      {[]string{"listen", "--as", "bob", "--url", "ftp://h"}, []string{"--url", "ftp://h", "ws://"}},
		"two tokens":   {[]string{"listen", "--token", "x", "--token-file", "y"}, []string{"--token-file"}},
		"no file":      {[]string{"listen", "--token-file", "/nowhere/at/all"}, []string{"--token-file", "/nowhere/at/all"}},
		"count":        {[]string{"listen", "--as", "bob", "--count=-1"}, []string{"--count"}},
		"no to":        {[]string{"send", "--as", "alice", "{}"}, []string{"--to", "--group"}},
		"bad to":       {[]string{"send", "--as", "alice", "--to", "b b", "{}"}, []string{"--to"}},
		"to and group": {[]string{"send", "--as", "alice", "--to", "bob", "--group", "room", "{}"}, []string{"--to", "--group"}},
		"bad group":    {[]string{"send", "--as", "alice", "--group", "r r", "{}"}, []string{"--group"}},
		"bad join":     {[]string{"listen", "--as", "alice", "--group", "room", "--group", "r r"}, []string{"--group"}},
		"bad watch":    {[]string{"listen", "--as", "alice", "--watch", "c c"}, []string{"--watch"}},
		"no data":      {[]string{"send", "--as", "alice", "--to", "bob"}, []string{"data"}},
		"no JSON":      {[]string{"send", "--as", "alice", "--to", "bob", "hello"}, []string{"hello is not JSON", `'"hello"'`, "--text"}},
		"two values":   {[]string{"send", "--as", "alice", "--to", "bob", "1 2"}, []string{"not JSON"}},
		"empty":        {[]string{"send", "--as", "alice", "--to", "bob", "-"}, []string{"nothing to send"}},
		"too deep":     {[]string{"send", "--as", "alice", "--to", "bob", strings.Repeat("[", 200) + strings.Repeat("]", 200)}, []string{"128"}},
		"chat no to":   {[]string{"chat", "--as", "alice"}, []string{"--to"}},
		"two places":   {[]string{"listen", "--as", "bob", "--url", "ws://h", "--registry", "http://h"}, []string{"--url", "--registry"}},
		"bad registry": {[]string{"listen", "--as", "bob", "--registry", "ws://h"}, []string{"--registry", "ws://h", "http://"}},
		"only a key":   {[]string{"listen", "--as", "bob", "--place-key", "room"}, []string{"--place-key", "--registry"}},
		"bad key":      {[]string{"listen", "--as", "bob", "--registry", "h:1", "--place-key", "a room"}, []string{"--place-key"}},
		"bad zone":     {[]string{"listen", "--as", "bob", "--registry", "h:1", "--zone", "A B"}, []string{"--zone"}},
		"no registry":  {[]string{"listen", "--as", "bob", "--transport", "tcp"}, []string{"--transport", "--registry", "--url"}},
		"no transport": {[]string{"listen", "--as", "bob", "--registry", "h:1", "--transport", "udp"}, []string{"--transport", "websocket", "tcp"}},
		"chat bad to":  {[]string{"chat", "--as", "alice", "--to", "b b"}, []string{"--to"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			call(t, "", nil, test.args...).refused(t, test.words...)
		})
	}
}

func TestDataIsSentAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		arg, stdin string
		text       bool
		want       string
	}{
		{arg: `{"hi": 1.0}`, want: `{"hi": 1.0}`},
		{arg: " 7 ", want: "7"},
		{arg: "-", stdin: "{\n  \"a\": [1,\n 2]\r\n}\n", want: `{"a":[1,2]}`},
		{arg: "hello", text: true, want: `"hello"`},
		{arg: "-", stdin: "two\nlines <&>\n", text: true, want: `"two\nlines <&>"`},
		{arg: "7", text: true, want: `"7"`},
	} {
		c := sendCmd{Data: test.arg, Text: test.text}
		got, err := c.data(strings.NewReader(test.stdin))
		if err != nil || string(got) != test.want {
			t.Errorf("%+v: %s, %v", test, got, err)
		}
	}
	if _, err := (&sendCmd{Data: "-", Text: true}).data(strings.NewReader(strings.Repeat("x", maxInput+1))); err == nil {
		t.Error("too much was taken")
	}
}

func TestMessagesDoNothingToATerminal(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{"hi":1}`:                  `{"hi":1}`,
		`"caf` + "\u00e9" + ` 👩‍💻"`: "caf\u00e9 👩‍💻",
		`"a\u001b[2Jb"`:             `a\u001b[2Jb`,
		"\"a\u009b2Jb\"":            `a\u009b2Jb`,
		"[\"\u202egnp.exe\"]":       `["\u202egnp.exe"]`,
		"[\"\U000e0041\"]":          `["\udb40\udc41"]`,
		"[\"\x9b\"]":                "[\"\ufffd\"]",
		`"two\nlines"`:              `two\u000alines`,
	} {
		if got := readable([]byte(data)); got != want {
			t.Errorf("%q: %q, want %q", data, got, want)
		}
	}
}

func TestNoConnectionIsExplained(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err           error
		address, says string
	}{
		{syscall.ECONNREFUSED, "ws://h:1", "beeline dev starts some"},
		{x509.UnknownAuthorityError{}, "wss://h:1", "SSL_CERT_FILE"},
		{io.EOF, "tcp://h:1", "tls://"},
	} {
		if got := explainDial(fmt.Errorf("connect: %w", test.err), test.address); !errors.Is(got, test.err) || !strings.Contains(got.Error(), test.says) {
			t.Errorf("%v: %v", test.err, got)
		}
	}
	for _, address := range []string{"ws://h:1", "tls://h:1"} {
		if got := explainDial(io.EOF, address); got.Error() != "EOF" {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func TestTimesAreLoggedAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		var b strings.Builder
		logFlags{LogLevel: "info", LogFormat: format}.logger(&b, false).Info("x", slog.Duration("hold", 10*time.Second))
		if !strings.Contains(b.String(), "10s") {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}
