package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// The plot, in pixels.
const (
	plotWidth, plotHeight = 800, 400
	plotLeft, plotBottom  = 70, 50 // room for the labels
	plotRight, plotTop    = 20, 40
)

// plotLines are the lines of the plot.
var plotLines = []struct {
	name, color string
	of          func(Slice) float64
}{
	{"p50", "#2a7f3f", func(s Slice) float64 { return s.P50 }},
	{"p99", "#c67a00", func(s Slice) float64 { return s.P99 }},
	{"max", "#b3261e", func(s Slice) float64 { return s.Max }},
}

// WritePlot draws the latency over the last round as an SVG: time from left to right, milliseconds upward on a logarithmic
// scale, since a stall may be a thousand times the median.
func (r *Report) WritePlot(w io.Writer) error {
	if len(r.Timeline) == 0 {
		return errors.New("there is no latency to draw")
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range r.Timeline {
		low, high = min(low, s.P50), max(high, s.Max)
	}
	a := axes{
		seconds: max(r.Timeline[len(r.Timeline)-1].At, 0.1),
		low:     math.Floor(math.Log10(max(low, 0.001))),
		high:    math.Ceil(math.Log10(max(high, 0.001))),
	}
	if a.high <= a.low {
		a.high = a.low + 1
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="20">latency of %s, ms (%s)</text>`+"\n", plotLeft, escape(r.Work), escape(r.settings()))
	a.draw(&b)
	for i, line := range plotLines {
		var points []string
		for _, s := range r.Timeline {
			points = append(points, fmt.Sprintf("%.1f,%.1f", a.x(s.At), a.y(line.of(s))))
		}
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`+"\n", line.color, strings.Join(points, " "))
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", plotLeft+10+i*50, plotTop+16, line.color, line.name)
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

// axes say where a point lies.
type axes struct {
	seconds   float64 // at the right end
	low, high float64 // powers of ten of a millisecond
}

func (a axes) x(seconds float64) float64 {
	return plotLeft + seconds/a.seconds*(plotWidth-plotLeft-plotRight)
}

func (a axes) y(ms float64) float64 {
	share := (math.Log10(max(ms, 0.001)) - a.low) / (a.high - a.low)
	return plotHeight - plotBottom - share*(plotHeight-plotBottom-plotTop)
}

// draw draws the grid and its labels.
func (a axes) draw(w io.Writer) {
	for power := a.low; power <= a.high; power++ {
		ms := math.Pow(10, power)
		fmt.Fprintf(w, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", plotLeft, plotWidth-plotRight, a.y(ms), a.y(ms))
		fmt.Fprintf(w, `<text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", plotLeft-8, a.y(ms)+4, ms)
	}
	const marks = 5
	for i := range marks + 1 {
		at := a.seconds * float64(i) / marks
		fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="middle">%.1f s</text>`+"\n", a.x(at), plotHeight-plotBottom+20, at)
	}
}

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(text)
}
