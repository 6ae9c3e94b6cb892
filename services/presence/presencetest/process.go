package presencetest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// startTime bounds how long a server may take to start. It takes some 10 ms on an idle machine.
const startTime = 20 * time.Second

// process is one redis-server.
type process struct {
	dir     string
	port    int
	command []string

	// Of the server that runs now.
	cmd    *exec.Cmd
	output *bytes.Buffer // to be read after exited is closed
	exited chan struct{}
}

// startProcess starts a redis-server on a free port of 127.0.0.1, with the arguments that command returns for its
// directory and port.
func startProcess(tb testing.TB, command func(dir string, port int) []string) *process {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		tb.Fatalf("these tests need a redis-server on PATH; install Redis 7.0 or later: %v", err)
	}
	p := &process{dir: tb.TempDir()}
	tb.Cleanup(p.kill)
	for range 5 {
		p.port = freePort(tb)
		p.command = command(p.dir, p.port)
		if p.start(tb) {
			return p
		}
		tb.Logf("redis-server on port %d: %s", p.port, p.output) // the port may have been taken meanwhile
	}
	tb.Fatal("redis-server did not start")
	return nil
}

// plain returns the arguments of a redis-server without persistence.
func plain(dir string, port int, more ...string) []string {
	return append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--appendonly", "no", "--loglevel", "warning",
	}, more...)
}

// freePort returns a port that is free now, and so is the one 10,000 above. It is none of those that the system hands
// out for connections, so that it is still free when a killed server comes back.
func freePort(tb testing.TB) int {
	tb.Helper()
	for range 100 {
		port := 11000 + rand.IntN(11000)
		if isFree(port) && isFree(port+10000) {
			return port
		}
	}
	tb.Fatal("no free port was found")
	return 0
}

func isFree(port int) bool {
	l, err := net.Listen("tcp4", address(port)) //nolint:noctx // closed at once
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (p *process) address() string { return address(p.port) }

// start starts the server and returns when it answers; or false when it has ended instead.
func (p *process) start(tb testing.TB) bool {
	tb.Helper()
	p.cmd = exec.Command("redis-server", p.command...) //nolint:gosec,noctx // the arguments are ours; ended by kill
	p.output, p.exited = new(bytes.Buffer), make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = p.output, p.output, dieWithTest()
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start redis-server: %v", err)
	}
	go func(cmd *exec.Cmd, exited chan struct{}) { // ends with the server, which kill waits for
		_ = cmd.Wait()
		close(exited)
	}(p.cmd, p.exited)
	return p.ready(tb)
}

// ready waits until the server accepts connections and answers.
func (p *process) ready(tb testing.TB) bool {
	tb.Helper()
	deadline := time.After(startTime)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.exited:
			return false
		case <-deadline:
			tb.Fatalf("redis-server at %s did not answer within %v", p.address(), startTime)
		case <-tick.C:
			if p.pings() {
				return true
			}
		}
	}
}

func (p *process) pings() bool {
	c, err := net.DialTimeout("tcp4", p.address(), time.Second) //nolint:noctx // has a time-out
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, len("+PONG"))
	_, err = c.Read(answer)
	return err == nil && (string(answer) == "+PONG" || string(answer) == "-NOAU") // the latter wants a password
}

// kill ends the server, if it runs, at once and without a word.
func (p *process) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return // never started
	}
	_ = p.cmd.Process.Kill() // an error says that it has ended already
	<-p.exited
}

func (p *process) signal(tb testing.TB, s os.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Fatalf("signal redis-server: %v", err)
	}
}

func (p *process) pause(tb testing.TB)  { tb.Helper(); p.signal(tb, syscall.SIGSTOP) }
func (p *process) resume(tb testing.TB) { tb.Helper(); p.signal(tb, syscall.SIGCONT) }
