// Package tickettest holds tickets that nobody may accept, for the tests of all who read tickets.
package tickettest

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Case is a ticket, or what claims to be one: the query of a URL.
type Case struct {
	Name  string
	Query string
	Want  error // what [contracts.TicketSecrets.Verify] wraps in its error
}

// Hostile returns a ticket that is good at a time, for cluster a, and what an attacker who has seen it might send instead. Each
// differs from it in one thing, so that this thing is why it is refused.
func Hostile(s contracts.TicketSecrets, now time.Time) (good string, all []Case) {
	ticket := contracts.Ticket{
		Cluster: "a", Key: "room-1", Client: "user:1@example.org",
		Expires: now.Add(contracts.TicketLife).Truncate(time.Second), Nonce: contracts.TicketNonce{1, 2, 3},
	}
	good = s.Sign(ticket)
	change := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	at := func(d time.Duration) contracts.Ticket {
		t := ticket
		t.Expires = now.Add(d)
		return t
	}
	expiry := "e=" + strconv.FormatInt(ticket.Expires.Unix(), 10)
	later := strconv.FormatInt(ticket.Expires.Unix()+1, 10)
	id, rest, _ := strings.Cut(good[strings.Index(good, "&s=")+3:], ".")
	last := good[:len(good)-1] + string(base64Alphabet[(strings.IndexByte(base64Alphabet, good[len(good)-1])+1)%64])
	foreign := otherSecrets()
	return good, []Case{
		{"nothing", "", contracts.ErrTicketMalformed},
		{"only separators", "&&&&", contracts.ErrTicketMalformed},
		{"another cluster", change("c=a", "c=b"), contracts.ErrTicketSignature},
		{"another key", change("k=room-1", "k=room-2"), contracts.ErrTicketSignature},
		{"another client", change("n=user:1", "n=user:2"), contracts.ErrTicketSignature},
		{"a longer life", change(expiry, "e="+later), contracts.ErrTicketSignature},
		{"another nonce", change("."+rest[:4], ".AAAA"), contracts.ErrTicketSignature},
		{"one bit of the signature", last, contracts.ErrTicketSignature},
		{"a byte moved between values", change("k=room-1&n=user:1", "k=room-1u&n=ser:1"), contracts.ErrTicketSignature},
		{"signed by another system", foreign.Sign(ticket), contracts.ErrTicketSignature},
		{"another system, this key id", strings.Replace(foreign.Sign(ticket), foreign[0].ID, id, 1), contracts.ErrTicketSignature},
		{"a key id that nobody has", change(id, "aaaaaaaa"), contracts.ErrTicketSignature},
		{"expired", s.Sign(at(-time.Second)), contracts.ErrTicketExpired},
		{"expired this very second", s.Sign(at(0)), contracts.ErrTicketExpired},
		{"of 1970", s.Sign(contracts.Ticket{Cluster: "a", Key: "k", Client: "n", Expires: time.Unix(1, 0)}), contracts.ErrTicketExpired},
		{"good for an hour", s.Sign(at(time.Hour)), contracts.ErrTicketFuture},
		{"a truncated signature", good[:len(good)-4], contracts.ErrTicketMalformed},
		{"a signature that is too long", good + "AAAA", contracts.ErrTicketMalformed},
		{"no signature", good[:strings.Index(good, "&s=")], contracts.ErrTicketMalformed},
		{"an empty signature", good[:strings.Index(good, "&s=")] + "&s=", contracts.ErrTicketMalformed},
		{"no key id", change(id+".", ""), contracts.ErrTicketMalformed},
		{"standard base64", change(rest[:2], "+/"), contracts.ErrTicketMalformed},
		{"padding", good + "=", contracts.ErrTicketMalformed},
		{"a parameter twice", good + "&c=a", contracts.ErrTicketMalformed},
		{"a parameter twice, first", "c=b&" + good, contracts.ErrTicketMalformed},
		{"an unknown parameter", good + "&h=evil", contracts.ErrTicketMalformed},
		{"a host", good + "&host=evil.example:80", contracts.ErrTicketMalformed},
		{"upper case", change("c=a", "C=a"), contracts.ErrTicketMalformed},
		{"percent-encoded value", change("room-1", "room%2d1"), contracts.ErrTicketMalformed},
		{"percent-encoded name", change("c=a", "%63=a"), contracts.ErrTicketMalformed},
		{"percent-encoded separator", change("&k=", "%26k="), contracts.ErrTicketMalformed},
		{"twice encoded", change("room-1", "room%252d1"), contracts.ErrTicketMalformed},
		{"a plus for a space", change("room-1", "room+1"), contracts.ErrTicketMalformed},
		{"semicolons", strings.ReplaceAll(good, "&", ";"), contracts.ErrTicketMalformed},
		{"NUL", change("room-1", "room\x001"), contracts.ErrTicketMalformed},
		{"a line break", change("room-1", "room-1\r\n"), contracts.ErrTicketMalformed},
		{"a line break in the signature", good + "\n", contracts.ErrTicketMalformed},
		{"Cyrillic", change("room-1", "rооm-1"), contracts.ErrTicketMalformed},
		{"fullwidth digits", change(expiry, "e=１"+expiry[3:]), contracts.ErrTicketMalformed},
		{"not UTF-8", change("room-1", "room\xff"), contracts.ErrTicketMalformed},
		{"a dot in the cluster", change("c=a", "c=evil.example"), contracts.ErrTicketMalformed},
		{"an address as the cluster", change("c=a", "c=127.0.0.1:6379"), contracts.ErrTicketMalformed},
		{"a path as the key", change("room-1", "../../x"), contracts.ErrTicketMalformed},
		{"an empty key", change("k=room-1", "k="), contracts.ErrTicketMalformed},
		{"a key that is too long", change("room-1", strings.Repeat("k", contracts.MaxIDLength+1)), contracts.ErrTicketMalformed},
		{"oversize", good + "&x=" + strings.Repeat("x", 1<<20), contracts.ErrTicketMalformed},
		{"an expiry with a sign", change(expiry, "e=-1"), contracts.ErrTicketMalformed},
		{"an expiry with a leading zero", change(expiry, "e=0"+expiry[2:]), contracts.ErrTicketMalformed},
		{"an expiry beyond all numbers", change(expiry, "e=99999999999999999999"), contracts.ErrTicketMalformed},
		{"an expiry in hexadecimal", change(expiry, "e=0x6b49d23c"), contracts.ErrTicketMalformed},
		{"a question mark", "?" + good, contracts.ErrTicketMalformed},
		{"a fragment", good + "#", contracts.ErrTicketMalformed},
		{"an equals sign within a value", change("room-1", "ro=om"), contracts.ErrTicketMalformed},
		{"two tickets", good + "&" + good, contracts.ErrTicketMalformed},
		{"a parameter without its equals", change("c=a", "ca"), contracts.ErrTicketMalformed},
	}
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// otherSecrets are another system's.
func otherSecrets() contracts.TicketSecrets {
	s, err := contracts.ParseTicketSecrets(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32))))
	if err != nil {
		panic(err) // it is a constant
	}
	return s
}
