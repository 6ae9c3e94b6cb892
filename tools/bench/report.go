package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report is what several runs of a work have shown. Its JSON is one line with stable names.
type Report struct {
	Work     string                `json:"work"`
	Settings map[string]string     `json:"settings"` // how it was asked for
	Rounds   int                   `json:"rounds"`
	Sent     uint64                `json:"sent"`     // messages of all rounds, the warm-up too
	Outcomes map[string]uint64     `json:"outcomes"` // what became of them: their sum is sent
	Figures  map[string]float64    `json:"figures"`  // see [Fields]; of several rounds the median
	Spread   map[string][2]float64 `json:"spread"`   // the least and the most of the rounds
	Broken   []string              `json:"broken"`   // what was not kept; empty in a run that counts
	Timeline []Slice               `json:"-"`        // of the last round
}

// NewReport sums up the rounds of a work.
func NewReport(work string, settings map[string]string, rounds []*Result) *Report {
	r := &Report{
		Work: work, Settings: settings, Rounds: len(rounds),
		Outcomes: map[string]uint64{}, Figures: map[string]float64{}, Spread: map[string][2]float64{}, Broken: []string{},
	}
	values := map[string][]float64{}
	for i, round := range rounds {
		r.Sent += round.Sent
		for outcome, n := range round.Outcomes {
			r.Outcomes[outcome] += n
		}
		for name, v := range round.Figures {
			values[name] = append(values[name], v)
		}
		for _, sentence := range round.Broken {
			if len(rounds) > 1 {
				sentence = fmt.Sprintf("round %d: %s", i+1, sentence)
			}
			r.Broken = append(r.Broken, sentence)
		}
		r.Timeline = round.Timeline
	}
	for name, all := range values {
		slices.Sort(all)
		r.Figures[name] = median(all)
		r.Spread[name] = [2]float64{all[0], all[len(all)-1]}
	}
	return r
}

// median returns the middle of sorted values.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// WriteJSON writes the report as one line.
func (r *Report) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s: %s\n\n", r.Work, r.settings())
	for _, f := range Fields {
		if v, ok := r.Figures[f.Name]; ok {
			r.row(t, f.Title, f, f.Name, v)
		}
		for _, name := range slices.Sorted(maps.Keys(r.Figures)) {
			if process, ok := strings.CutPrefix(name, f.Name+"."); ok {
				r.row(t, process, f, name, r.Figures[name])
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.Sent > 0 {
		fmt.Fprintf(w, "\n%s\n", r.Account())
	}
	return nil
}

func (r *Report) row(t io.Writer, title string, f Field, name string, v float64) {
	fmt.Fprintf(t, "%s\t%s\t", title, strconv.FormatFloat(v, 'f', f.Digits, 64))
	if s := r.Spread[name]; r.Rounds > 1 {
		fmt.Fprintf(t, "%s .. %s\t", strconv.FormatFloat(s[0], 'f', f.Digits, 64), strconv.FormatFloat(s[1], 'f', f.Digits, 64))
	}
	fmt.Fprintln(t)
}

func (r *Report) settings() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
		all = append(all, name+" "+r.Settings[name])
	}
	if r.Rounds > 1 {
		all = append(all, fmt.Sprintf("%d rounds: median, least .. most", r.Rounds))
	}
	return strings.Join(all, ", ")
}

// Account says what became of all that was sent, the most frequent first.
func (r *Report) Account() string {
	names := slices.SortedFunc(maps.Keys(r.Outcomes), func(a, b string) int {
		if r.Outcomes[a] != r.Outcomes[b] {
			return int(int64(r.Outcomes[b]) - int64(r.Outcomes[a]))
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", r.Outcomes[name], name)
	}
	return fmt.Sprintf("%d sent = %s", r.Sent, strings.Join(names, " + "))
}
