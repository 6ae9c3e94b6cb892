package usage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// PID is a process of this machine. It needs /proc, which Linux has.
type PID int

var _ Source = PID(0)

// Sample reads /proc.
func (p PID) Sample(context.Context) (Sample, error) {
	dir := filepath.Join("/proc", strconv.Itoa(int(p)))
	cpu, err := stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Sample{}, fmt.Errorf("there is no process %d, or no /proc on this system: then give --admin", int(p))
	}
	if err != nil {
		return Sample{}, err
	}
	rss, err := resident(dir)
	if err != nil {
		return Sample{}, err
	}
	return Sample{CPU: cpu, RSS: rss, byThread: threads(dir)}, nil
}

// stat returns user and system time of all threads, those that have ended too.
func stat(dir string) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses, with whatever is in it.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const user, system = 11, 12 // counted from the third field
	if len(fields) <= system {
		return 0, fmt.Errorf("%s/stat is not understood", dir)
	}
	u, err1 := strconv.ParseInt(string(fields[user]), 10, 64)
	s, err2 := strconv.ParseInt(string(fields[system]), 10, 64)
	return time.Duration(u+s) * tick, errors.Join(err1, err2)
}

// resident returns the resident memory. smaps_rollup walks the pages; what status says may be off by some for each CPU.
func resident(dir string) (int64, error) {
	for _, from := range []struct{ file, line string }{{"smaps_rollup", "Rss:"}, {"status", "VmRSS:"}} {
		b, err := os.ReadFile(filepath.Join(dir, from.file))
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			fields := bytes.Fields(line)
			if len(fields) < 2 || string(fields[0]) != from.line {
				continue
			}
			kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("the memory in %s cannot be read", dir)
}

// threads returns the CPU time of each thread that lives, or nil where the kernel does not keep it.
func threads(dir string) map[int]time.Duration {
	files, _ := filepath.Glob(filepath.Join(dir, "task", "*", "schedstat"))
	all := make(map[int]time.Duration, len(files))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		first, _, _ := bytes.Cut(b, []byte(" "))
		ns, err := strconv.ParseInt(string(first), 10, 64)
		thread, err2 := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || err2 != nil {
			return nil
		}
		all[thread] = time.Duration(ns)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}
