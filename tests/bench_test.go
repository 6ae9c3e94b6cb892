//go:build linux

package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/bench"
)

// benchReport runs a work, and returns what it told.
func benchReport(t *testing.T, args ...string) bench.Report {
	t.Helper()
	// Of the edges: a loaded machine is not a dead one; and what a slow start has left is not given back while memory is measured.
	patient := []string{"BEELINE_ACK_TIMEOUT=10s", "GOGC=off"}
	p := fleet.RunWith(t, patient, fleet.Binary(t), append([]string{"bench"}, append(args, "--json")...)...)
	var r bench.Report
	if code := p.Wait(); code != 0 || json.Unmarshal([]byte(p.Output()), &r) != nil {
		t.Fatalf("exit code %d: %s", code, p.Output())
	}
	var sum uint64
	for _, n := range r.Outcomes {
		sum += n
	}
	if sum != r.Sent || len(r.Broken) > 0 {
		t.Errorf("%+v", r)
	}
	return r
}

// positive checks that figures are there.
func positive(t *testing.T, r bench.Report, names ...string) {
	t.Helper()
	for _, name := range names {
		if r.Figures[name] <= 0 {
			t.Errorf("%s: %s is %v", r.Work, name, r.Figures[name])
		}
	}
}

func TestBenchOfDirectAddsUp(t *testing.T) {
	t.Parallel()
	plot, profiles := filepath.Join(t.TempDir(), "latency.svg"), filepath.Join(t.TempDir(), "profiles")
	r := benchReport(t, "direct", "--self", "--pairs", "5", "--rate", "200", "--warm-up", "200ms", "--for", "1s", "--floor", "--plot", plot, "--profile", profiles)
	positive(t, r, "delivered_per_s", "cpu_us_per_delivery", "cpu_us_per_delivery.a1", "cpu_us_per_delivery.a2", "cpu_us_per_delivery.nats",
		"latency_p50_ms", "latency_max_ms", "answer_p99_ms", "floor_write_us", "floor_nats_us", "ratio_to_write", "ratio_to_floor")
	if r.Sent != 240 || r.Outcomes["delivered"] != 240 {
		t.Errorf("%d sent, %v", r.Sent, r.Outcomes)
	}
	for _, path := range []string{plot, filepath.Join(profiles, "a1.pprof"), filepath.Join(profiles, "a2.pprof")} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestBenchOfSaturatedDirectAddsUp(t *testing.T) {
	t.Parallel()
	r := benchReport(t, "direct", "--self", "--batch", "--pairs", "5", "--warm-up", "100ms", "--for", "300ms")
	positive(t, r, "delivered_per_s", "cpu_us_per_delivery")
}

func TestBenchOfAGatewayAddsUp(t *testing.T) {
	t.Parallel()
	profiles := filepath.Join(t.TempDir(), "profiles")
	r := benchReport(t, "gateway", "--pairs", "5", "--rate", "200", "--connections", "50", "--settle", "0s", "--warm-up", "100ms", "--for", "500ms", "--profile", profiles)
	positive(t, r, "proxy_cpu_us_per_message", "proxy_cpu_us_per_message.haproxy", "node_cpu_us_per_message", "node_cpu_us_per_message.direct",
		"node_cpu_us_per_message.haproxy", "proxy_connect_cpu_us", "proxy_connect_cpu_us.haproxy", "ratio_proxy_cpu", "ratio_proxy_connect",
		"delivered_per_s", "delivered_per_s.direct", "delivered_per_s.haproxy", "latency_p50_ms", "latency_p50_ms.direct")
	if r.Sent != 3*120 || r.Outcomes["delivered"] != 3*120 {
		t.Errorf("%d sent, %v", r.Sent, r.Outcomes)
	}
	if info, err := os.Stat(filepath.Join(profiles, "gateway.pprof")); err != nil || info.Size() == 0 {
		t.Errorf("the profile: %v", err)
	}
}

func TestBenchOfCallsAddsUp(t *testing.T) {
	t.Parallel()
	r := benchReport(t, "calls", "--self", "--connections", "2", "--window", "4", "--warm-up", "100ms", "--for", "300ms", "--floor")
	positive(t, r, "calls_per_s", "cpu_us_per_call", "cpu_us_per_call.nats", "latency_p50_ms", "floor_request_us", "ratio_to_request")
	if r.Sent != r.Outcomes["answered"] {
		t.Errorf("%d sent, %v", r.Sent, r.Outcomes)
	}
}

func TestBenchOfCallsOverHTTPAddsUpBesideProxies(t *testing.T) {
	t.Parallel()
	r := benchReport(t, "calls", "--self", "--http", "--edges", "1", "--connections", "2", "--window", "4", "--warm-up", "100ms", "--for", "300ms")
	positive(t, r, "calls_per_s", "calls_per_s.haproxy", "calls_per_s.nginx", "cpu_us_per_call", "cpu_us_per_call.a1", "cpu_us_per_call.haproxy",
		"cpu_us_per_call.nginx", "ratio_to_haproxy", "ratio_to_nginx", "latency_p50_ms", "latency_p50_ms.haproxy", "latency_p50_ms.nginx")
	if r.Sent != r.Outcomes["answered"] {
		t.Errorf("%d sent, %v", r.Sent, r.Outcomes)
	}
}

func TestBenchOfFanoutAddsUp(t *testing.T) {
	t.Parallel()
	r := benchReport(t, "fanout", "--self", "--members", "20", "--rate", "50", "--warm-up", "100ms", "--for", "400ms")
	positive(t, r, "delivered_per_s", "cpu_us_per_delivery", "latency_p50_ms", "answer_p50_ms")
	if r.Sent != 25 || r.Outcomes["sent"] != 25 {
		t.Errorf("%d sent, %v", r.Sent, r.Outcomes)
	}
}

func TestBenchOfIdleTellsWhatAConnectionTakes(t *testing.T) {
	t.Parallel()
	r := benchReport(t, "idle", "--self", "--connections", "300", "--settle", "100ms", "--for", "300ms", "--floor")
	positive(t, r, "connections", "connect_cpu_us", "rss_kib_per_connection", "rss_end_kib_per_connection", "keep_cpu_us_per_s", "ratio_connect", "ratio_rss")
}

func TestBenchOfAStormBringsAllBack(t *testing.T) {
	t.Parallel()
	r := benchReport(t, "storm", "--self", "--clients", "50")
	positive(t, r, "back_p50_ms", "back_max_ms", "peak_connects_per_s", "redis_commands_per_client", "connect_cpu_us")
	if r.Figures["attempts"] < 50 {
		t.Errorf("%v", r.Figures)
	}
}

func TestBenchOfChurnLosesNothing(t *testing.T) {
	t.Parallel()
	r := benchReport(t, "churn", "--self", "--pairs", "10", "--rate", "200", "--share", "0.5", "--every", "300ms", "--warm-up", "100ms", "--for", "1s")
	positive(t, r, "reconnects_per_s", "delivered_per_s")
	if r.Figures["lost"]+r.Figures["duplicated"]+r.Figures["reordered"] != 0 {
		t.Errorf("%v", r.Figures)
	}
}

func TestNothingOfABenchOutlivesIt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		signal   syscall.Signal
		children int
		work     []string
	}{
		{syscall.SIGINT, 5, []string{"idle", "--connections", "10"}}, // NATS, Redis, two edges, and who holds the connections
		{syscall.SIGKILL, 5, []string{"idle", "--connections", "10"}},
		// NATS, Redis, an edge, an instance, and who runs HAProxy and nginx; these, and a worker.
		{syscall.SIGKILL, 9, []string{"calls", "--http", "--edges", "1", "--instances", "1", "--connections", "1"}},
	} {
		p := fleet.Run(t, fleet.Binary(t), append([]string{"bench", test.work[0], "--self", "--for", "1h"}, test.work[1:]...)...)
		children := waitForChildren(t, p.Cmd.Process.Pid, test.children)
		if err := p.Cmd.Process.Signal(test.signal); err != nil {
			t.Fatal(err)
		}
		_ = p.Wait()
		for _, pid := range children {
			fleet.Eventually(t, fmt.Sprintf("the end of %d after %v", pid, test.signal), func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) })
		}
	}
}

// waitForChildren returns the children of a process, and their children, once there are n.
func waitForChildren(t *testing.T, pid, n int) (children []int) {
	t.Helper()
	fleet.Eventually(t, fmt.Sprintf("%d children", n), func() bool {
		of := map[int][]int{}
		files, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, file := range files {
			b, _ := os.ReadFile(file)
			_, rest, _ := strings.Cut(string(b), ") ") // behind the name: the state, and the parent
			if fields := strings.Fields(rest); len(fields) > 1 {
				parent, _ := strconv.Atoi(fields[1])
				child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
				of[parent] = append(of[parent], child)
			}
		}
		children = slices.Clone(of[pid])
		for i := 0; i < len(children); i++ {
			children = append(children, of[children[i]]...)
		}
		return len(children) >= n
	})
	return children
}

// zombie reports whether a process has ended, and nobody has asked how: its parent was killed.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}
