package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/tools/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// someTable has a work in which the peer does not hold what it says.
func someTable(t *testing.T) *table {
	t.Helper()
	chosen, err := choose([]string{"socketio"})
	if err != nil {
		t.Fatal(err)
	}
	round := func(cpu float64, broken ...string) *bench.Result {
		return &bench.Result{Sent: 2, Outcomes: map[string]uint64{"delivered": 2}, Figures: map[string]float64{"cpu_us_per_delivery": cpu, "cpu_us_per_delivery.redis": 1}, Broken: broken}
	}
	table := newTable(chosen)
	table.add(comparisons(true)[0], map[string][]*bench.Result{
		"beeline": {round(6), round(4), round(5)}, "socketio": {round(70), round(50, "1 message is lost"), round(60)},
	})
	return table
}

func TestTableHasBothWithMediansAndRatios(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := someTable(t).write(&out, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Beeline", "Socket.IO", "CPU us/delivery", "5.00 (4.00 .. 6.00)", "60.00 (50.00 .. 70.00)", "12.00",
		"Beeline: 6 sent = 6 delivered", "Socket.IO does not hold this: round 2: 1 message is lost", "rounds 3",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestJSONOfAComparisonIsOneLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := someTable(t).write(&out, true); err != nil {
		t.Fatal(err)
	}
	var read table
	if err := json.Unmarshal(out.Bytes(), &read); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
		t.Fatal(err, out.String())
	}
	if got := read.Works[0].Ratios["socketio"]["cpu_us_per_delivery"]; got != 12 {
		t.Errorf("%v in %s", got, out.String())
	}
}

func TestRunOfBeelineThatDoesNotCountIsAFailure(t *testing.T) {
	t.Parallel()
	table := someTable(t)
	if err := table.verdict(); err != nil {
		t.Errorf("a peer alone: %v", err)
	}
	table.Works[0].Reports["beeline"].Broken = []string{"1 message is lost"}
	if err := table.verdict(); err == nil || !strings.Contains(err.Error(), "direct, saturated: 1 message is lost") {
		t.Error(err)
	}
}

func TestUnknownPeerIsSaidWithThoseThereAre(t *testing.T) {
	t.Parallel()
	if _, err := choose([]string{"nothing"}); err == nil || !strings.Contains(err.Error(), "socketio-ack") {
		t.Error(err)
	}
	if _, err := choose(strings.Split(usual, ",")); err != nil {
		t.Error(err)
	}
}

func TestProgramEndsWhenItIsStopped(t *testing.T) {
	t.Parallel()
	p, err := startProgram(t.Context(), t.TempDir(), []string{"WHAT=ready"}, "sh", "-c", `echo $WHAT; exec cat`)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := p.line(t.Context()); err != nil || line != "ready\n" {
		t.Errorf("%q, %v", line, err)
	}
	p.stop()
	p, err = startProgram(t.Context(), t.TempDir(), nil, "sh", "-c", "echo no room >&2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.line(t.Context()); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Error(err)
	}
	p.stop()
}

func TestLockFileNamesNoMirror(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("socketio", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Resolved, Integrity string }
	}
	if err := json.Unmarshal(text, &lock); err != nil || len(lock.Packages) < 10 {
		t.Fatal(err, len(lock.Packages))
	}
	for name, p := range lock.Packages {
		if name != "" && (p.Integrity == "" || p.Resolved != "" && !strings.HasPrefix(p.Resolved, "https://registry.npmjs.org/")) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
