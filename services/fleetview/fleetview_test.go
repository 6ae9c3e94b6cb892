package fleetview

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// fleet makes instances of `a1 a2!`, of which those with a mark are stopping.
func fleet(names string) (all []contracts.Instance) {
	for name := range strings.FieldsSeq(names) {
		node, draining := strings.CutSuffix(name, "!")
		i := contracts.Instance{Peer: contracts.Peer{Node: contracts.NodeID(node)}, Load: contracts.Load{State: contracts.NodeReady}}
		if draining {
			i.Load.State = contracts.NodeDraining
		}
		all = append(all, i)
	}
	return all
}

func names(all []contracts.Instance) string {
	var b []string
	for _, i := range all {
		b = append(b, string(i.Node))
	}
	return strings.Join(b, " ")
}

func TestOnlyWhatCanBeTrueIsBelieved(t *testing.T) {
	t.Parallel()
	const hold = 10 * time.Second
	type step struct {
		at      int    // seconds after the beginning
		update  string // "?": the fleet cannot be read
		outcome Outcome
		believe string // who counts after it
		missing string
	}
	for name, steps := range map[string][]step{
		"half may go": {
			{0, "a1 a2 a3 a4", Accepted, "a1 a2 a3 a4", ""},
			{1, "a1 a2", Accepted, "a1 a2", ""},
			{2, "a1", Accepted, "a1", ""},
		},
		"more than half may not, until the time is over": {
			{0, "a1 a2 a3", Accepted, "a1 a2 a3", ""},
			{1, "a1", Refused, "a1 a2 a3", "a2 a3"},
			{10, "a1", Refused, "a1 a2 a3", "a2 a3"},
			{11, "a1", Accepted, "a1", ""},
		},
		"all at once may not": {
			{0, "a1", Accepted, "a1", ""},
			{1, "", Refused, "a1", "a1"},
			{11, "", Accepted, "", ""},
		},
		"those who come back one by one are waited for": {
			{0, "a1 a2 a3 a4", Accepted, "a1 a2 a3 a4", ""},
			{1, "", Refused, "a1 a2 a3 a4", "a1 a2 a3 a4"},
			{2, "a3", Refused, "a1 a2 a3 a4", "a1 a2 a4"},
			{3, "a1 a2 a3", Refused, "a1 a2 a3 a4", "a4"}, // three of four would have been believed before
			{4, "a1 a2 a3 a4", Accepted, "a1 a2 a3 a4", ""},
			{5, "a1 a2 a3", Accepted, "a1 a2 a3", ""},
		},
		"a new one counts whatever is not believed": {
			{0, "a1 a2", Accepted, "a1 a2", ""},
			{1, "a5", Refused, "a1 a2 a5", "a1 a2"},
			{11, "a5", Accepted, "a5", ""},
		},
		"those who said that they would go may": {
			{0, "a1 a2! a3!", Accepted, "a1 a2 a3", ""},
			{1, "a1", Accepted, "a1", ""},
		},
		"what cannot be read changes nothing": {
			{0, "a1 a2", Accepted, "a1 a2", ""},
			{1, "?", Unread, "a1 a2", ""},
			{100, "?", Unread, "a1 a2", ""},
			{101, "a1", Accepted, "a1", ""},
		},
		"nor does it give time to believe": {
			{0, "a1 a2", Accepted, "a1 a2", ""},
			{1, "", Refused, "a1 a2", "a1 a2"},
			{5, "?", Unread, "a1 a2", "a1 a2"},
			{6, "", Refused, "a1 a2", "a1 a2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var v View
			begin := time.Now()
			for _, s := range steps {
				var err error
				if s.update == "?" {
					err = errors.New("no Redis")
				}
				outcome := v.Take(begin.Add(time.Duration(s.at)*time.Second), fleet(strings.Trim(s.update, "?")), err, hold)
				missing := strings.Trim(fmt.Sprint(v.Missing()), "[]")
				if outcome != s.outcome || names(v.Instances()) != s.believe || missing != s.missing {
					t.Errorf("after %d s: %v, believes %q, misses %q; want %+v", s.at, outcome, names(v.Instances()), missing, s)
				}
				if v.Held() != (s.missing != "") || v.UnreadSince().IsZero() != (err == nil) {
					t.Errorf("after %d s: held %v, unread since %v", s.at, v.Held(), v.UnreadSince())
				}
			}
		})
	}
}

func TestWithoutAHoldEveryUpdateIsBelieved(t *testing.T) {
	t.Parallel()
	var v View
	v.Take(time.Now(), fleet("a1 a2 a3"), nil, 0)
	if outcome := v.Take(time.Now(), nil, nil, 0); outcome != Accepted || v.Known() != 0 {
		t.Errorf("%v, knows %d", outcome, v.Known())
	}
}

func TestViewIsStaleWhenItCouldNotBeReadForLong(t *testing.T) {
	t.Parallel()
	var v View
	now, hold := time.Now(), time.Second
	if !v.Stale(now, hold) {
		t.Error("it was never read, and is not stale")
	}
	v.Take(now, nil, nil, hold) // nobody is there, which is an answer
	v.Take(now, nil, errors.New("no Redis"), hold)
	if v.Stale(now.Add(hold-1), hold) || !v.Stale(now.Add(hold), hold) {
		t.Error("it is not stale from hold on")
	}
	v.Take(now.Add(2*hold), nil, nil, hold)
	if v.Stale(now.Add(2*hold), hold) {
		t.Error("it can be read again")
	}
}
