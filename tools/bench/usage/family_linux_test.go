package usage

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestWorkersAreCountedWithTheirMaster(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "(while :; do :; done) & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	start := time.Now()
	for {
		all, err := Family(cmd.Process.Pid).Sample(t.Context())
		one, err2 := PID(cmd.Process.Pid).Sample(t.Context())
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if all.CPU > one.CPU+2*tick && all.RSS > one.RSS { // the master only waits
			return
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("the family has taken %v, the master %v", all.CPU, one.CPU)
		}
		<-time.After(10 * time.Millisecond)
	}
}
