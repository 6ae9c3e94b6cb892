//go:build examples

package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/client"
)

// exampleProgram writes the worked example to a folder with what it needs, and returns that.
func exampleProgram(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../contracts/README.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("(?s)```js\n(import .*?)```").FindSubmatch(page)
	if code == nil {
		t.Fatal("contracts/README.md has no example")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/example")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "instance.js"), code[1], 0o600); err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
	install.Dir = dir
	if said, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v (Node.js 20 or later and npm are needed): %s", err, said)
	}
	return dir
}

func TestTheWorkedExampleIsAnInstance(t *testing.T) {
	t.Parallel()
	dir := exampleProgram(t)
	f := fleet.New(t, 2)
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "node", "instance.js")
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		cmd.Env = append(os.Environ(), "NATS_URL="+f.NATS.URL())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	program := start()
	alice := dialCaller(t, f, 1, "alice")
	call := func(timeout time.Duration) (string, error) {
		got, err := alice.Call(t.Context(), "orders", []byte(`{"n":1}`), client.CallOptions{Key: "k", Timeout: timeout})
		return string(got), err
	}
	answers := func() {
		t.Helper()
		fleet.Eventually(t, "it is there", func() bool { _, err := call(fleet.Patience); return err == nil })
		for range 100 {
			if got, err := call(fleet.Patience); err != nil || got != `{"hello":"alice","key":"k","got":{"n":1}}` {
				t.Fatal(got, err)
			}
		}
	}
	answers()
	// It hangs, and another one is started under its id, which gets what comes.
	if err := program.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := call(100 * time.Millisecond); err == nil {
		t.Fatal("it does not hang")
	}
	second := start()
	answers()
	_ = program.Process.Kill()
	_ = program.Wait()
	answers()
	// It ends in good order: nobody waits in vain.
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	fleet.Eventually(t, "its last call has an end", func() bool {
		_, err := call(fleet.Patience)
		if err != nil && codeOf(err) != contracts.CodeUnavailable {
			t.Fatal(err)
		}
		return err != nil
	})
	if err := second.Wait(); err != nil {
		t.Error(err)
	}
}
