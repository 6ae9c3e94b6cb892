package main

import (
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/tools/bench"
)

// nodes is how many each system has. There are two processors in the machine that the figures in the documents are from.
const nodes = 2

// comparison is a work that all do, and what of it is shown.
type comparison struct {
	name    string
	work    bench.Work
	setting map[string]string
	figures []string
}

const (
	pairs    = 200
	dataSize = 128 // bytes
	window   = 16
	members  = 1000
)

// comparisons are all of them.
func comparisons(short bool) []comparison {
	warm, measured, held, settle, keep := 5*time.Second, 10*time.Second, 10_000, 5*time.Second, 35*time.Second
	if short {
		warm, measured, held, settle, keep = 2*time.Second, 3*time.Second, 5000, 3*time.Second, 2*time.Second
	}
	setting := func(more ...string) map[string]string {
		all := map[string]string{"measured": measured.String(), "size": fmt.Sprint(dataSize)}
		for i := 0; i+1 < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	latency := []string{"latency_p50_ms", "latency_p99_ms", "latency_p999_ms"}
	open := append([]string{"delivered_per_s", "cpu_us_per_delivery"}, append(latency, "answer_p50_ms", "answer_p99_ms", "late_p99_ms")...)
	saturated := bench.Direct{Pairs: pairs, Size: dataSize, Window: window, Warm: warm, For: measured}
	quiet := bench.Direct{Pairs: pairs, Size: dataSize, Rate: 5000, Burst: 1, Warm: warm, For: measured}
	all := []comparison{
		{"direct, saturated", saturated, setting("pairs", fmt.Sprint(pairs), "window", fmt.Sprint(window)), open[:len(open)-1]},
		{"direct, 5000/s", quiet, setting("pairs", fmt.Sprint(pairs), "rate", "5000"), open},
	}
	for _, rate := range []float64{20, 80} {
		f := bench.Fanout{Members: members, Size: dataSize, Rate: rate, Warm: warm, For: measured}
		all = append(all, comparison{fmt.Sprintf("fanout, %.0f/s", rate), f, setting("members", fmt.Sprint(members), "rate", fmt.Sprint(rate)), open})
	}
	idle := bench.Idle{Connections: held, Settle: settle, For: keep}
	return append(all, comparison{
		"idle", idle,
		map[string]string{"connections": fmt.Sprint(held), "settle": settle.String(), "measured": keep.String()},
		[]string{"connect_cpu_us", "rss_kib_per_connection", "rss_end_kib_per_connection", "keep_cpu_us_per_s"},
	})
}
