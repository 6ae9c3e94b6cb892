package presence

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestAnEntryIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, e := range []contracts.Entry{
		{Node: "a", Device: "", Since: time.UnixMilli(0)},
		{Node: "a-1", Epoch: 1<<64 - 1, Device: "phone:1@home", Since: time.UnixMilli(1_700_000_000_123)},
		{
			Node: contracts.NodeID(strings.Repeat("n", contracts.MaxNodeIDLength)), Epoch: 7,
			Device: strings.Repeat("d", contracts.MaxIDLength), Since: time.UnixMilli(-1),
		},
	} {
		e.Session = contracts.NewSessionID()
		value := encodeEntry(e, 1<<64-1)
		if got, err := decodeEntry(string(e.Session), value); err != nil || got != e {
			t.Errorf("%q is read as %+v, %v", value, got, err)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add("0123456789abcdef0123456789abcdef", "1 a 0000000000000001 1 lq3x8k2f phone")
	f.Add("0123456789abcdef0123456789abcdef", "2 a 0000000000000001 1 lq3x8k2f ")
	f.Add("", "1     ")
	f.Fuzz(func(t *testing.T, session, value string) {
		e, err := decodeEntry(session, value)
		switch {
		case errors.Is(err, errMalformed), errors.Is(err, errVersion):
		case err != nil:
			t.Errorf("%q, %q: %v", session, value, err)
		default: // what was read can be written, and is read the same
			again, err := decodeEntry(session, encodeEntry(e, 0))
			if err != nil || again != e {
				t.Errorf("%q, %q: %+v, then %+v, %v", session, value, e, again, err)
			}
		}
	})
}
