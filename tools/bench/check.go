package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// Baseline is what was measured when somebody last looked: for each case, figures by their names. Ratios, so that it holds
// on another machine.
type Baseline map[string]map[string]float64

// Case is a work of the check, and what of it counts.
type Case struct {
	Name   string
	Work   Floored
	Ratios []Ratio
}

// Ratio is a figure and what of it cannot be avoided: more is worse.
type Ratio struct{ Name, Figure, Floor string }

// Of returns the ratio of the least that the rounds of a report have shown of each. Whatever else a machine does only adds
// to either, so that the least is what comes again; medians of ratios were found to differ by a quarter between two
// runs of the same program on a machine that others use.
func (q Ratio) Of(r *Report) float64 { return r.Spread[q.Figure][0] / r.Spread[q.Floor][0] }

// tolerance is how much worse than the baseline a figure may be. What the noise of a machine leaves of a ratio is below it.
const tolerance = 0.25

// Compare returns a sentence for each figure that is worse than the baseline, or not in it, and one for each that is so
// much better that the baseline should know.
func (b Baseline) Compare(measured Baseline) (worse, better []string) {
	for _, name := range slices.Sorted(maps.Keys(measured)) {
		for _, figure := range slices.Sorted(maps.Keys(measured[name])) {
			is := measured[name][figure]
			was, known := b[name][figure]
			switch {
			case !known || was <= 0:
				worse = append(worse, fmt.Sprintf("%s: %s is %.2f, and not in the baseline", name, figure, is))
			case is > was*(1+tolerance):
				worse = append(worse, fmt.Sprintf("%s: %s is %.2f, %.0f %% worse than the %.2f of the baseline", name, figure, is, 100*(is/was-1), was))
			case is < was*(1-tolerance):
				better = append(better, fmt.Sprintf("%s: %s is %.2f, %.0f %% better than the %.2f of the baseline", name, figure, is, 100*(1-is/was), was))
			}
		}
	}
	return worse, better
}

// ReadBaseline reads a baseline. One that is not there is empty.
func ReadBaseline(path string) (Baseline, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Baseline{}, nil
	}
	if err != nil {
		return nil, err
	}
	var read Baseline
	if err := json.Unmarshal(b, &read); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return read, nil
}

// Write writes the baseline.
func (b Baseline) Write(path string) error {
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // it is for all to read
}
