package usage

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Machine is what all processors have spent until now, and of that this process and the children that have ended.
type Machine struct {
	at        time.Time
	all, ours time.Duration
	cpus      int
}

// LookAtMachine reads the accounts. ok is false where they are not kept.
func LookAtMachine() (m Machine, ok bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m, false
	}
	m.at = time.Now()
	for line := range bytes.Lines(b) {
		fields := bytes.Fields(line)
		if len(fields) < 9 || !bytes.HasPrefix(fields[0], []byte("cpu")) {
			continue
		}
		if string(fields[0]) != "cpu" {
			m.cpus++
			continue
		}
		for _, i := range []int{1, 2, 3, 6, 7, 8} { // not idle, and not waiting for a disk; 8 is what the host has taken
			ticks, err := strconv.ParseInt(string(fields[i]), 10, 64)
			if err != nil {
				return m, false
			}
			m.all += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) != nil {
			return m, false
		}
		m.ours += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return m, m.cpus > 0
}

// OthersSince returns which share of the machine, from 0 to 1, went to others.
func (m Machine) OthersSince() float64 {
	now, ok := LookAtMachine()
	if !ok {
		return 0
	}
	others := (now.all - m.all) - (now.ours - m.ours)
	return max(0, others.Seconds()/(now.at.Sub(m.at).Seconds()*float64(now.cpus)))
}
