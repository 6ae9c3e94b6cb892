package fleet

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/broker/embedded"
	"github.com/beeline-rt/beeline/services/presence/presencetest"
)

// Process is a program that a test runs beside itself.
type Process struct {
	Cmd *exec.Cmd

	t     testing.TB
	out   lockedBuffer
	lines chan string
	done  chan struct{}
	once  sync.Once
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Run starts a program. It ends with the test, and what it wrote is shown if the test failed.
func Run(tb testing.TB, name string, args ...string) *Process {
	tb.Helper()
	return RunWith(tb, nil, name, args...)
}

// RunWith is [Run] with further variables in the environment, each as name=value.
func RunWith(tb testing.TB, variables []string, name string, args ...string) *Process {
	tb.Helper()
	p := newProcess(tb, name, args...)
	p.Cmd.Env = append(os.Environ(), variables...)
	p.start()
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("%s %s:\n%s", filepath.Base(name), strings.Join(args, " "), p.out.String())
		}
	})
	return p
}

func newProcess(tb testing.TB, name string, args ...string) *Process {
	tb.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), name, args...) //nolint:gosec // what a test runs
	p := &Process{Cmd: cmd, t: tb, lines: make(chan string, 1000), done: make(chan struct{})}
	p.Cmd.SysProcAttr = dieWithTest()
	return p
}

func (p *Process) start() {
	p.t.Helper()
	stdout, err := p.Cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.Cmd.Stderr = &p.out
	if err := p.Cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.Cmd.Path, err)
	}
	go func() {
		defer close(p.done)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			fmt.Fprintln(&p.out, s.Text())
			select {
			case p.lines <- s.Text():
			default:
			}
		}
		close(p.lines)
		_ = p.Cmd.Wait()
	}()
}

// Kill ends the program as kill -9 does, and waits for its end.
func (p *Process) Kill() {
	p.once.Do(func() { _ = p.Cmd.Process.Kill() })
	<-p.done
}

// Pause stops the program where it is, as one that hangs: its connections stay open, and nothing answers. A program that is
// paused can still be killed.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume lets a paused program go on.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

// Terminate asks the program to stop in good order.
func (p *Process) Terminate() { p.signal(syscall.SIGTERM) }

func (p *Process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %s: %v", p.Cmd.Args, err)
	}
}

// Wait waits for the program to end by itself and returns its exit code.
func (p *Process) Wait() int {
	<-p.done
	return p.Cmd.ProcessState.ExitCode()
}

// Output is all that the program has written.
func (p *Process) Output() string { return p.out.String() }

// Line waits for a line on standard output that contains text.
func (p *Process) Line(text string) string {
	p.t.Helper()
	found := ""
	Eventually(p.t, fmt.Sprintf("%q from %s", text, p.Cmd.Args), func() bool {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%s ended:\n%s", p.Cmd.Args, p.Output())
			}
			if strings.Contains(line, text) {
				found = line
			}
		default:
		}
		return found != ""
	})
	return found
}

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "beeline-test-")
	if err != nil {
		return "", err
	}
	built.Store(dir)
	path := filepath.Join(dir, "beeline")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-o", path, "github.com/beeline-rt/beeline/services/cmd/beeline").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, err
})

// built is the folder of what binary made, if it was asked to.
var built atomic.Value

// Binary builds beeline, once, and returns its path. RemoveBinary, from TestMain, removes it.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// RemoveBinary removes what [Binary] built.
func RemoveBinary() {
	if dir, ok := built.Load().(string); ok {
		_ = os.RemoveAll(dir)
	}
}

// Edges are edge processes, as an operator would start them, with a NATS server and a Redis.
type Edges struct {
	URLs   []string
	Admins []string
	NATS   *embedded.Server
	Redis  *presencetest.Redis
	Link   *brokertest.Link // between the edges and Redis
	Procs  []*Process
}

// RunEdges starts n edge processes, a1 to an, with further flags.
func RunEdges(tb testing.TB, n int, flags ...string) *Edges {
	tb.Helper()
	e := &Edges{Redis: presencetest.StartRedis(tb)}
	presencetest.Settle(tb, e.Redis.Config(), "a")
	e.NATS, e.Link = brokertest.New(tb), brokertest.NewLink(tb, e.Redis.Addr())
	bin := Binary(tb)
	for i := range n {
		args := append([]string{
			"edge", "--node", fmt.Sprint("a", i+1), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
			"--nats-url", e.NATS.URL(), "--redis-addr", e.Link.Addr(), "--anonymous", "--allow-send", "*",
			"--drain-time", "0s", "--redis-timeout", "2s", "--message-rate", "0",
		}, flags...)
		p := Run(tb, bin, args...)
		e.Procs = append(e.Procs, p)
		for word := range strings.FieldsSeq(p.Line("is ready")) {
			switch {
			case strings.HasPrefix(word, "ws"):
				e.URLs = append(e.URLs, word)
			case strings.HasPrefix(word, "http"):
				e.Admins = append(e.Admins, word)
			}
		}
	}
	return e
}

// FreePort returns a port that nobody listens on now.
func FreePort(tb testing.TB) int {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port
}
