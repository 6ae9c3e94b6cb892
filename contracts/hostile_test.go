package contracts_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/contracts/tickettest"
)

// Each is refused, with an error that repeats nothing of it.
func TestHostileTicketsAreRefused(t *testing.T) {
	t.Parallel()
	s, err := contracts.ParseTicketSecrets(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32))))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0).UTC()
	good, hostile := tickettest.Hostile(s, now)
	if _, err := s.Verify(good, now); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(good, ".")
	seen := map[string]bool{}
	for _, h := range hostile {
		if h.Query == good || seen[h.Query] {
			t.Errorf("%s: it is the good one, or another one", h.Name)
		}
		seen[h.Query] = true
		got, err := s.Verify(h.Query, now)
		if !errors.Is(err, h.Want) || got != (contracts.Ticket{}) {
			t.Errorf("%s: %+v, %v", h.Name, got, err)
			continue
		}
		for _, leak := range []string{"evil", "room", "user", rest, good} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("%s: the error repeats %q: %v", h.Name, leak, err)
			}
		}
	}
	if len(hostile) < 50 {
		t.Errorf("only %d are tried", len(hostile))
	}
}
