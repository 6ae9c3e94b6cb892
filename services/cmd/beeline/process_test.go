//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// program is the real program, in a process of its own.
type program struct {
	*exec.Cmd
	stdout, stderr *transcript
	ended          chan error
}

// runProgram starts the program, which ends with the test at the latest.
func runProgram(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.CommandContext(t.Context(), os.Args[0], args...), stdout: newTranscript(), stderr: newTranscript(), ended: make(chan error, 1)}
	p.Env = append(os.Environ(), asProgram+"=1")
	p.Stdout, p.Stderr = p.stdout, p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.ended <- p.Wait()
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-over
	})
	return p
}

// exit returns how the program ended.
func (p *program) exit(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(limit):
		t.Fatalf("the program does not end: %s%s", p.stdout, p.stderr)
		return nil
	}
}

// devProgram starts `beeline dev`, and returns the process id of its Redis, too.
func devProgram(t *testing.T) (p *program, redis int) {
	t.Helper()
	p = runProgram(t, "dev", "--port", "0", "--admin-port", "0", "--redis", "server")
	text := p.stdout.wait(t, "chat --as alice")
	redis, err := strconv.Atoi(regexp.MustCompile(`process (\d+)`).FindStringSubmatch(text)[1])
	if err != nil {
		t.Fatal(err)
	}
	return p, redis
}

func TestCtrlCEndsDevAndItsRedis(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p, redis := devProgram(t)
		if err := p.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := p.exit(t); err != nil {
			t.Errorf("after %v: %v: %s", signal, err, p.stderr)
		}
		if err := syscall.Kill(redis, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("after %v: redis-server is still there: %v", signal, err)
		}
	}
}

func TestRedisDoesNotOutliveDev(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // elsewhere nobody tells a child that its parent has died
	}
	p, redis := devProgram(t)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.exit(t)
	patience := time.NewTimer(limit)
	defer patience.Stop()
	check := time.NewTicker(10 * time.Millisecond)
	defer check.Stop()
	for running(redis) {
		select {
		case <-check.C:
		case <-patience.C:
			t.Fatal("redis-server is still there")
		}
	}
}

// running reports whether a process exists that is more than the memory of one.
func running(pid int) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	return err == nil && !regexp.MustCompile(`(?m)^State:\s+[ZX]`).Match(status)
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	dev, _ := startDev(t, "--redis", redisEmbedded)
	edge := runProgram(t, "edge", "--node", "b1", "--anonymous", "--listen", "127.0.0.1:0", "--admin", "none", "--drain-time", "10m",
		"--nats-url", dev.address("NATS"), "--redis-addr", dev.address("Redis"))
	url := regexp.MustCompile(`ws://\S+`).FindString(edge.stdout.wait(t, "is ready: ws://"))
	bob := begin(t, nil, "listen", "--as", "bob", "--url", url)
	bob.stderr.wait(t, "connected")
	for _, said := range []string{`"msg":"stopping"`, ""} {
		if err := edge.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		edge.stderr.wait(t, said)
	}
	if err := edge.exit(t); err == nil {
		t.Error("it ended as if nothing had been cut short")
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for code, args := range map[int][]string{
		exitOK:     {"--version"},
		exitFailed: {"listen", "--as", "bob", "--url", "127.0.0.1:1"},
		exitUsage:  {"send"},
	} {
		p := runProgram(t, args...)
		_ = p.exit(t)
		if got := p.ProcessState.ExitCode(); got != code {
			t.Errorf("%q ended with %d: %s", args, got, p.stderr)
		}
	}
}

func TestAPersonIsToldWhatTakesLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		said := newTranscript()
		p := &process{stderr: said, terminal: true}
		done := p.waiting("connecting")
		time.AfterFunc(patience-1, done)
		<-time.After(2 * patience)
		if said.String() != "" {
			t.Errorf("it took no two seconds, but %q", said)
		}
		done = p.waiting("connecting")
		<-time.After(2 * patience)
		done()
		synctest.Wait()
		if said.String() != "connecting …\n" {
			t.Errorf("said %q", said)
		}
		p.terminal = false
		p.waiting("a machine does not need this")
		<-time.After(2 * patience)
		if said.String() != "connecting …\n" {
			t.Errorf("said %q", said)
		}
	})
}
