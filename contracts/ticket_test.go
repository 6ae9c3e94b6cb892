package contracts

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func secretOf(fill byte) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(fill)), 32)))
}

func secrets(tb testing.TB, texts ...string) TicketSecrets {
	tb.Helper()
	s, err := ParseTicketSecrets(texts...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

var (
	ticketTime = time.Unix(1_800_000_000, 0).UTC()
	goodTicket = Ticket{Cluster: "a", Key: "room-1", Client: "user:1@example.org", Expires: ticketTime.Add(TicketLife), Nonce: TicketNonce{1, 2, 3}}
	ticketErrs = map[string]error{"malformed": ErrTicketMalformed, "signature": ErrTicketSignature, "expired": ErrTicketExpired, "future": ErrTicketFuture}
)

func TestTicketIsReadAsItWasSigned(t *testing.T) {
	t.Parallel()
	s := secrets(t, secretOf('s'))
	query := s.Sign(goodTicket)
	got, err := s.Verify(query, ticketTime)
	if err != nil || got != goodTicket {
		t.Fatalf("%s: %+v, %v", query, got, err)
	}
	longest := Ticket{
		Cluster: ClusterName(strings.Repeat("c", MaxNodeIDLength)), Key: PlacementKey(strings.Repeat("k", MaxIDLength)),
		Client: ClientID(strings.Repeat("n", MaxIDLength)), Expires: ticketTime.Add(time.Second), Nonce: NewTicketNonce(),
	}
	if got, err := s.Verify(s.Sign(longest), ticketTime); err != nil || got != longest {
		t.Errorf("the longest: %v", err)
	}
	p := strings.Split(query, "&")
	if _, err := s.Verify(strings.Join([]string{p[4], p[2], p[0], p[3], p[1]}, "&"), ticketTime); err != nil {
		t.Errorf("the order of parameters counts: %v", err)
	}
}

func TestTicketSecretsChangeWithoutATicketLost(t *testing.T) {
	t.Parallel()
	before, during, after := secrets(t, secretOf('o')), secrets(t, secretOf('n'), secretOf('o')), secrets(t, secretOf('n'))
	for name, test := range map[string]struct {
		signer, reader TicketSecrets
		want           error
	}{
		"old, read by both": {before, during, nil}, "new, read by both": {during, during, nil}, "new, read by new": {during, after, nil},
		"old, read by new": {before, after, ErrTicketSignature}, "new, read by old": {after, before, ErrTicketSignature},
	} {
		if _, err := test.reader.Verify(test.signer.Sign(goodTicket), ticketTime); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTicketSecretsAreCheckedAndNotShown(t *testing.T) {
	t.Parallel()
	short := base64.StdEncoding.EncodeToString(make([]byte, 31))
	for _, texts := range [][]string{{}, {""}, {"not base64!"}, {short}, {strings.Repeat("A", 1000)}, {secretOf('a'), secretOf('a')}, {secretOf('a'), secretOf('b'), secretOf('c')}} {
		_, err := ParseTicketSecrets(texts...)
		if !errors.Is(err, ErrTicketSecret) {
			t.Errorf("%d secrets: %v", len(texts), err)
		}
		for _, text := range texts {
			if text != "" && strings.Contains(fmt.Sprint(err), text) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		}
	}
	s := secrets(t, secretOf('s'))
	for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%+v %#v", s, s[0]), s[0].LogValue().String()} {
		if strings.Contains(shown, "ssss") || strings.Contains(shown, "115 115") || strings.Contains(shown, secretOf('s')[:8]) {
			t.Errorf("the secret is shown: %s", shown)
		}
	}
}

// FuzzTicket holds that nothing makes the parser panic, that it reads a ticket in one way only, and that nothing is
// accepted but what was signed.
func FuzzTicket(f *testing.F) {
	s, unknown := secrets(f, secretOf('s'), secretOf('t')), secrets(f, base64.StdEncoding.EncodeToString([]byte(rand.Text()+rand.Text())))
	for _, c := range readCases[ticketCase](f, "tickets.jsonl") {
		f.Add(c.Query)
	}
	f.Add(s.Sign(goodTicket))
	f.Fuzz(func(t *testing.T, query string) {
		parsed, _, _, err := parseTicket(query)
		if err == nil {
			again, _, _, err := parseTicket(s.Sign(parsed))
			if err != nil || again != parsed {
				t.Fatalf("%q is %+v, and then %+v, %v", query, parsed, again, err)
			}
		} else if parsed != (Ticket{}) || !errors.Is(err, ErrTicketMalformed) {
			t.Fatalf("%q: %+v, %v", query, parsed, err)
		}
		if got, err := unknown.Verify(query, ticketTime); err == nil {
			t.Fatalf("%q was accepted: %+v", query, got)
		}
	})
}

// ticketCase is one line of tickets.jsonl.
type ticketCase struct {
	Name    string      `json:"name"`
	Secrets []string    `json:"secrets"`          // base64; the first signs
	Now     int64       `json:"now"`              // seconds
	Encode  *ticketForm `json:"encode,omitempty"` // what is signed; Query is what comes of that
	Query   string      `json:"query"`
	Ticket  *ticketForm `json:"ticket,omitempty"` // what is read
	Error   string      `json:"error,omitempty"`
}

type ticketForm struct {
	Cluster ClusterName  `json:"cluster"`
	Key     PlacementKey `json:"key"`
	Client  ClientID     `json:"client"`
	Expires int64        `json:"expires"`
	Nonce   string       `json:"nonce"` // hexadecimal
}

func TestGoldenTickets(t *testing.T) {
	golden(t, "tickets.jsonl", func(c ticketCase) string { return c.Name }, func(tb testing.TB, c ticketCase) ticketCase {
		tb.Helper()
		s := secrets(tb, c.Secrets...)
		if e := c.Encode; e != nil {
			c.Query = s.Sign(Ticket{e.Cluster, e.Key, e.Client, time.Unix(e.Expires, 0).UTC(), TicketNonce(mustHex(tb, e.Nonce))})
		}
		c.Ticket, c.Error = nil, ""
		got, err := s.Verify(c.Query, time.Unix(c.Now, 0))
		if err == nil {
			c.Ticket = &ticketForm{got.Cluster, got.Key, got.Client, got.Expires.Unix(), hex.EncodeToString(got.Nonce[:])}
			return c
		}
		for name, sentinel := range ticketErrs {
			if errors.Is(err, sentinel) {
				c.Error = name
			}
		}
		return c
	})
}

func BenchmarkVerifyTicket(b *testing.B) {
	s := secrets(b, secretOf('s'))
	query := s.Sign(goodTicket)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Verify(query, ticketTime); err != nil {
			b.Fatal(err)
		}
	}
}
