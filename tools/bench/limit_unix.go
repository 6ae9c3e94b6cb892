//go:build unix

package bench

import "syscall"

// fileLimit returns how many files this process may have open.
func fileLimit() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return atMost(l.Cur)
}

// atMost makes an int of what has another type on each system.
func atMost[T int64 | uint64](v T) int { return int(min(v, 1<<30)) }
