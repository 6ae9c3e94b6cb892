package contracts

import (
	"strings"
	"testing"
)

type connectionCase struct {
	Name    string          `json:"name"`
	Body    string          `json:"body"`
	Request *connectionForm `json:"request,omitempty"`
	Error   string          `json:"error,omitempty"` // the message; other implementations need not say the same
}

type connectionForm struct {
	Client ClientID     `json:"client,omitempty"`
	Key    PlacementKey `json:"key,omitempty"`
	Class  string       `json:"class,omitempty"`
	Zone   Zone         `json:"zone,omitempty"`

	Transport Transport `json:"transport,omitempty"`
}

func TestGoldenConnections(t *testing.T) {
	golden(t, "connections.jsonl", func(c connectionCase) string { return c.Name }, func(tb testing.TB, c connectionCase) connectionCase {
		tb.Helper()
		r, err := DecodeConnectionRequest([]byte(c.Body))
		c.Request, c.Error = nil, ""
		if err != nil {
			c.Error = err.Message
			if r != (ConnectionRequest{}) || err.Code != CodeBadRequest {
				tb.Errorf("%s: %+v, %v", c.Name, r, err)
			}
			return c
		}
		c.Request = &connectionForm{r.Client, r.Key, r.Class, r.Zone, r.Transport}
		return c
	})
}

// FuzzDecodeConnectionRequest holds that nothing makes it panic, that it accepts valid ids only, and that an error
// repeats nothing that could hurt a log.
func FuzzDecodeConnectionRequest(f *testing.F) {
	for _, c := range readCases[connectionCase](f, "connections.jsonl") {
		f.Add([]byte(c.Body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, refused := DecodeConnectionRequest(body)
		if refused != nil {
			if r != (ConnectionRequest{}) || strings.ContainsAny(refused.Message, "\r\n\x00\x1b") {
				t.Fatalf("%q: %+v, %v", body, r, refused)
			}
			return
		}
		for _, id := range []string{string(r.Client), string(r.Key)} {
			if _, err := ParseClientID(id); id != "" && err != nil {
				t.Fatalf("%q: %v", body, err)
			}
		}
		if r.Transport != "" && r.Transport != WebSocket && r.Transport != RawTCP {
			t.Fatalf("%q: transport %q", body, r.Transport)
		}
		for _, name := range []string{r.Class, string(r.Zone)} {
			if _, err := ParseNodeID(name); name != "" && err != nil {
				t.Fatalf("%q: %v", body, err)
			}
		}
	})
}
