package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/beeline-rt/beeline/tools/bench"
)

// table is what all have shown. Its JSON is one line.
type table struct {
	Works   []row             `json:"works"`
	About   map[string]string `json:"about"`   // of each system, what ran
	Answers map[string]string `json:"answers"` // what the good answer of each to a direct message says
	Machine string            `json:"machine"`
	Others  float64           `json:"others"` // which share of the machine went to others meanwhile, from 0 to 1

	peers []peer
}

// row is what all have shown in one work.
type row struct {
	Name    string                        `json:"name"`
	Reports map[string]*bench.Report      `json:"reports"` // by the name of the system: see tools/bench/README.md
	Ratios  map[string]map[string]float64 `json:"ratios"`  // by the name of a peer and of a figure: median to Beeline's median

	figures []string
}

func newTable(chosen []peer) *table {
	t := &table{About: map[string]string{}, Answers: map[string]string{}, peers: chosen}
	for _, p := range chosen {
		t.Answers[p.name] = p.answer
	}
	return t
}

// add sums up the rounds of a work.
func (t *table) add(c comparison, results map[string][]*bench.Result) {
	r := row{Name: c.name, Reports: map[string]*bench.Report{}, Ratios: map[string]map[string]float64{}, figures: c.figures}
	for name, rounds := range results {
		r.Reports[name] = bench.NewReport(c.work.Name(), c.setting, rounds)
	}
	ours := r.Reports[t.peers[0].name]
	for name, report := range r.Reports {
		if report == ours {
			continue
		}
		r.Ratios[name] = map[string]float64{}
		for figure, v := range report.Figures {
			if base := ours.Figures[figure]; base > 0 && !strings.Contains(figure, ".") {
				r.Ratios[name][figure] = v / base
			}
		}
	}
	t.Works = append(t.Works, r)
}

// mostOthers is which share of the machine others may have had before the table says so first.
const mostOthers = 0.1

// write writes it, for people or as a line of JSON.
func (t *table) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(t)
	}
	if t.Others > mostOthers {
		fmt.Fprintf(w, "%.0f %% of this machine went to others meanwhile: these figures are no good.\n\n", 100*t.Others)
	}
	for _, r := range t.Works {
		if err := r.write(w, t.peers); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "Medians (least .. most of the rounds); x: to Beeline's median. On %s.\n", t.Machine)
	for _, p := range t.peers {
		fmt.Fprintf(w, "%s: %s. Its answer to a direct message: %s.\n", p.title, t.About[p.name], p.answer)
	}
	return nil
}

// write writes the row: a line for each figure, and below them the accounts.
func (r *row) write(w io.Writer, all []peer) error {
	shown := slices.DeleteFunc(slices.Clone(all), func(p peer) bool { return r.Reports[p.name] == nil })
	first := r.Reports[shown[0].name]
	fmt.Fprintf(w, "%s: %s\n", r.Name, settings(first))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\t")
	for i, p := range shown {
		fmt.Fprintf(t, "%s\t", p.title)
		if i > 0 {
			fmt.Fprint(t, "x\t")
		}
	}
	fmt.Fprintln(t)
	for _, f := range bench.Fields {
		if !slices.Contains(r.figures, f.Name) {
			continue
		}
		fmt.Fprintf(t, "%s\t", f.Title)
		for i, p := range shown {
			fmt.Fprintf(t, "%s\t", cell(r.Reports[p.name], f))
			if i > 0 {
				fmt.Fprintf(t, "%s\t", ratio(r.Ratios[p.name], f.Name))
			}
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range shown {
		report := r.Reports[p.name]
		if report.Sent > 0 {
			fmt.Fprintf(w, "  %s: %s\n", p.title, report.Account())
		}
		for _, sentence := range report.Broken {
			fmt.Fprintf(w, "  %s does not hold this: %s\n", p.title, sentence)
		}
	}
	fmt.Fprintln(w)
	return nil
}

// settings tells how a work was asked for.
func settings(r *bench.Report) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
		all = append(all, name+" "+r.Settings[name])
	}
	return strings.Join(append(all, fmt.Sprintf("rounds %d", r.Rounds)), ", ")
}

// cell is a figure, with what the rounds have of it.
func cell(r *bench.Report, f bench.Field) string {
	v, ok := r.Figures[f.Name]
	if !ok {
		return "-"
	}
	text := number(v, f)
	if s := r.Spread[f.Name]; r.Rounds > 1 {
		text += " (" + number(s[0], f) + " .. " + number(s[1], f) + ")"
	}
	return text
}

func number(v float64, f bench.Field) string { return strconv.FormatFloat(v, 'f', f.Digits, 64) }

func ratio(ratios map[string]float64, figure string) string {
	v, ok := ratios[figure]
	if !ok {
		return "-"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// verdict is an error if a run of Beeline does not count. One of a peer that does not is in the table.
func (t *table) verdict() error {
	var all []string
	for _, r := range t.Works {
		for _, sentence := range r.Reports[t.peers[0].name].Broken {
			all = append(all, r.Name+": "+sentence)
		}
	}
	if len(all) > 0 {
		return fmt.Errorf("this run does not count: %s", strings.Join(all, "; "))
	}
	return nil
}
