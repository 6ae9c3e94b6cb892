//go:build race

package gateway

import "runtime"

// While timers of a bubble start goroutines, the race detector of Go 1.26.8 itself crashes on two busy processors (SIGSEGV in its stack depot, or
// "tsan_rtl.cpp: CHECK failed"; https://go.dev/issue/78156), and the wards have many: 3 of 14 runs. On one it did in none of 75.
func init() { runtime.GOMAXPROCS(1) }
