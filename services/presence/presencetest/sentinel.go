package presencetest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/beeline-rt/beeline/services/presence"
)

// Sentinel is a Redis, and a Sentinel that watches it.
type Sentinel struct {
	*Redis
	sentinel *process
}

const masterName = "main"

// StartSentinel starts both. They end with the test.
func StartSentinel(tb testing.TB) *Sentinel {
	tb.Helper()
	r := StartRedis(tb)
	s := startProcess(tb, func(dir string, port int) []string {
		config := filepath.Join(dir, "sentinel.conf") // Sentinel writes to it
		text := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nsentinel monitor %s 127.0.0.1 %d 1\n", port, dir, masterName, r.process.port)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		return []string{config, "--sentinel"}
	})
	return &Sentinel{r, s}
}

// Config returns how a directory reaches the master through the Sentinel.
func (s *Sentinel) Config() presence.Redis {
	return presence.Redis{Addrs: []string{s.sentinel.address()}, MasterName: masterName}
}
