package usage

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"strconv"
)

// Family is a process of this machine together with its children, such as a server and its workers. Children that end are counted no
// more: it is for servers whose workers stay.
type Family int

var _ Source = Family(0)

// Sample reads /proc.
func (f Family) Sample(ctx context.Context) (Sample, error) {
	sum, err := PID(f).Sample(ctx)
	if err != nil {
		return Sample{}, err
	}
	for _, child := range f.children() {
		s, err := child.Sample(ctx)
		if err != nil {
			return Sample{}, err
		}
		sum.CPU += s.CPU
		sum.RSS += s.RSS
		if sum.byThread == nil || s.byThread == nil {
			sum.byThread = nil
			continue
		}
		maps.Copy(sum.byThread, s.byThread)
	}
	return sum, nil
}

func (f Family) children() (all []PID) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		// Behind the name, which may have parentheses: the state, and the parent.
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && len(fields) > 1 && string(fields[1]) == strconv.Itoa(int(f)) {
			all = append(all, PID(child))
		}
	}
	return all
}
