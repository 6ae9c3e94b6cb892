package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/usage"
)

func TestTheJSONIsOneLineOfKnownNames(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, f := range Fields {
		known[f.Name] = true
	}
	plotted := small
	plotted.Plot = true
	good := run(t, plotted, newFake())
	good.cpu("cpu_us_per_delivery", charge{
		processes: []usage.Process{{Name: "a1"}}, before: usage.Table{{}}, after: usage.Table{{CPU: time.Second}},
	}, 1000)
	report := NewReport("direct", map[string]string{"pairs": "3"}, []*Result{good, good})
	var b bytes.Buffer
	if err := report.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Count(b.String(), "\n") != 1 {
		t.Errorf("not one line: %s", &b)
	}
	var read struct {
		Work     string
		Rounds   int
		Sent     uint64
		Outcomes map[string]uint64
		Figures  map[string]float64
		Spread   map[string][2]float64
		Broken   []string
	}
	if err := json.Unmarshal(b.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if read.Work != "direct" || read.Rounds != 2 || read.Sent != 600 || read.Outcomes[Delivered] != 600 || read.Broken == nil ||
		read.Figures["cpu_us_per_delivery.a1"] != 1000 || len(read.Spread) != len(read.Figures) {
		t.Errorf("%s", &b)
	}
	for name := range read.Figures {
		if field, _, _ := strings.Cut(name, "."); !known[field] {
			t.Errorf("%s is in no list", name)
		}
	}
	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil || !strings.Contains(table.String(), "600 sent = 600 delivered") {
		t.Errorf("%s: %v", &table, err)
	}
	var plot bytes.Buffer
	if err := report.WritePlot(&plot); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(&plot); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheReadmeExplainsEveryName(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Fields {
		if !strings.Contains(string(text), "| `"+f.Name+"` | "+f.Means+" |\n") {
			t.Errorf("| `%s` | %s |", f.Name, f.Means)
		}
	}
}

func TestTheMiddleOfTheRoundsIsTold(t *testing.T) {
	t.Parallel()
	var rounds []*Result
	for _, v := range []float64{9, 1, 2} {
		r := newResult()
		r.Figures["delivered_per_s"] = v
		rounds = append(rounds, r)
	}
	r := NewReport("direct", nil, rounds)
	if r.Figures["delivered_per_s"] != 2 || r.Spread["delivered_per_s"] != [2]float64{1, 9} {
		t.Errorf("%+v", r)
	}
	if got := NewReport("direct", nil, rounds[:2]).Figures["delivered_per_s"]; got != 5 {
		t.Errorf("of 9 and 1, the middle is %v", got)
	}
}

func TestACheckFailsWhenARatioIsAQuarterWorse(t *testing.T) {
	t.Parallel()
	was := Baseline{"direct": {"cpu": 2}, "idle": {"rss": 4}}
	for _, test := range []struct {
		cpu           float64
		worse, better int
	}{{2, 0, 0}, {2.49, 0, 0}, {2.51, 1, 0}, {1.51, 0, 0}, {1.49, 0, 1}} {
		worse, better := was.Compare(Baseline{"direct": {"cpu": test.cpu}, "idle": {"rss": 4}})
		if len(worse) != test.worse || len(better) != test.better {
			t.Errorf("%v: worse %v, better %v", test.cpu, worse, better)
		}
	}
	worse, _ := was.Compare(Baseline{"direct": {"cpu": 3}, "storm": {"cpu": 1}})
	want := "direct: cpu is 3.00, 50 % worse than the 2.00 of the baseline; storm: cpu is 1.00, and not in the baseline"
	if got := strings.Join(worse, "; "); got != want {
		t.Error(got)
	}
}

func TestABaselineIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/baseline.json"
	if b, err := ReadBaseline(path); err != nil || len(b) != 0 {
		t.Errorf("%v, %v", b, err)
	}
	if err := (Baseline{"direct": {"cpu": 2}}).Write(path); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadBaseline(path); err != nil || b["direct"]["cpu"] != 2 {
		t.Errorf("%v, %v", b, err)
	}
	if _, err := ReadBaseline("baseline.json"); err != nil {
		t.Errorf("the one that is committed: %v", err)
	}
}
