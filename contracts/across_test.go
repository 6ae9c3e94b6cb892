package contracts

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// presenceCase is one line of presence.jsonl.
type presenceCase struct {
	Name   string     `json:"name"`
	Encode bool       `json:"encode,omitempty"`
	Asked  *int       `json:"asked,omitempty"` // addresses of the query that a reply answers; nil for a query
	Hex    string     `json:"hex"`
	Query  *queryForm `json:"query,omitempty"`
	Reply  *replyForm `json:"reply,omitempty"`
	Error  bool       `json:"error,omitempty"`
}

type queryForm struct {
	Asker     NodeID   `json:"asker"`
	Addresses []string `json:"addresses,omitempty"`
}

type replyForm struct {
	Peers    []string      `json:"peers,omitempty"`
	Findings []findingForm `json:"findings,omitempty"`
}

type findingForm struct {
	Known   bool     `json:"known,omitempty"`
	Entries []string `json:"entries,omitempty"`
}

func (f *queryForm) query() PresenceQuery {
	q := PresenceQuery{Asker: f.Asker}
	for _, s := range f.Addresses {
		kind, id, _ := strings.Cut(s, ":")
		q.Addresses = append(q.Addresses, Address{AddressKind(kind[0]), id})
	}
	return q
}

func queryFormOf(q PresenceQuery) *queryForm {
	f := &queryForm{Asker: q.Asker}
	for _, a := range q.Addresses {
		f.Addresses = append(f.Addresses, string(a.Kind)+":"+a.ID)
	}
	return f
}

func (f *replyForm) reply(tb testing.TB) PresenceReply {
	tb.Helper()
	var p PresenceReply
	for _, s := range f.Peers {
		p.Peers = append(p.Peers, peerFrom(tb, strings.Fields(s)))
	}
	for _, x := range f.Findings {
		finding := Finding{Known: x.Known}
		for _, s := range x.Entries {
			fields := strings.Fields(s)
			peer := peerFrom(tb, fields[1:3])
			var ms int64
			if _, err := fmt.Sscan(fields[3], &ms); err != nil {
				tb.Fatal(err)
			}
			finding.Entries = append(finding.Entries, Entry{Session: SessionID(fields[0]), Node: peer.Node, Epoch: peer.Epoch, Since: time.UnixMilli(ms)})
		}
		p.Findings = append(p.Findings, finding)
	}
	return p
}

func peerFrom(tb testing.TB, fields []string) Peer {
	tb.Helper()
	epoch, err := ParseEpoch(fields[1])
	if err != nil {
		tb.Fatal(err)
	}
	return Peer{NodeID(fields[0]), epoch}
}

func replyFormOf(p PresenceReply) *replyForm {
	f := &replyForm{}
	for _, x := range p.Peers {
		f.Peers = append(f.Peers, fmt.Sprint(x.Node, " ", x.Epoch))
	}
	for _, x := range p.Findings {
		finding := findingForm{Known: x.Known}
		for _, e := range x.Entries {
			finding.Entries = append(finding.Entries, fmt.Sprint(e.Session, " ", e.Node, " ", e.Epoch, " ", e.Since.UnixMilli()))
		}
		f.Findings = append(f.Findings, finding)
	}
	return f
}

func TestGoldenPresence(t *testing.T) {
	golden(t, "presence.jsonl", func(c presenceCase) string { return c.Name }, func(tb testing.TB, c presenceCase) presenceCase {
		tb.Helper()
		switch {
		case c.Encode && c.Query != nil:
			c.Hex = hex.EncodeToString(c.Query.query().Append(nil))
		case c.Encode:
			c.Hex = hex.EncodeToString(c.Reply.reply(tb).Append(nil))
		}
		b := mustHex(tb, c.Hex)
		isReply := c.Asked != nil || c.Reply != nil
		c.Query, c.Reply, c.Error = nil, nil, false
		if !isReply {
			q, err := ReadPresenceQuery(b)
			if c.Error = err != nil; !c.Error {
				c.Query = queryFormOf(q)
			}
			return c
		}
		asked := 0
		if c.Asked != nil {
			asked = *c.Asked
		}
		p, err := ReadPresenceReply(b, asked)
		if c.Error = err != nil; !c.Error {
			c.Reply = replyFormOf(p)
		}
		return c
	})
}

func TestReplyThatWouldBeTooLongSaysThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	many := make([]Entry, 8000)
	for i := range many {
		many[i] = Entry{Session: "00112233445566778899aabbccddeeff", Node: NodeID(strings.Repeat("n", MaxNodeIDLength)), Since: time.UnixMilli(1)}
	}
	findings := []Finding{{Known: true, Entries: many}, {Known: true, Entries: many}, {Known: true, Entries: many[:1]}}
	b := PresenceReply{Findings: findings}.Append(nil)
	if len(b) > MaxBundle {
		t.Errorf("%d bytes", len(b))
	}
	p, err := ReadPresenceReply(b, len(findings))
	if err != nil || len(p.Findings[0].Entries) != len(many) || p.Findings[1].Known || !p.Findings[2].Known {
		t.Errorf("got %d entries, known %v and %v: %v", len(p.Findings[0].Entries), p.Findings[1].Known, p.Findings[2].Known, err)
	}
}

// FuzzReadPresence holds what another cluster can send: no bytes make the readers panic, and what they read can be written
// and read again.
func FuzzReadPresence(f *testing.F) {
	for _, c := range readCases[presenceCase](f, "presence.jsonl") {
		f.Add(mustHex(f, c.Hex), 2)
	}
	f.Fuzz(func(t *testing.T, b []byte, asked int) {
		q, err := ReadPresenceQuery(b)
		if err != nil && !errors.Is(err, ErrPresence) {
			t.Fatal(err)
		}
		if err == nil {
			if again, err := ReadPresenceQuery(q.Append(nil)); err != nil || !reflect.DeepEqual(again, q) {
				t.Fatalf("%+v became %+v: %v", q, again, err)
			}
		}
		asked = min(max(asked, 0), MaxPresenceQuery)
		p, err := ReadPresenceReply(b, asked)
		if err != nil && !errors.Is(err, ErrPresence) {
			t.Fatal(err)
		}
		if err == nil {
			if again, err := ReadPresenceReply(p.Append(nil), asked); err != nil || !reflect.DeepEqual(again, p) {
				t.Fatalf("%+v became %+v: %v", p, again, err)
			}
		}
	})
}
