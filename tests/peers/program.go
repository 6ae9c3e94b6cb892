package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTime = 20 * time.Second // by when a program must be ready
	stopTime  = 3 * time.Second  // that it has to end by itself
)

// program is a process that ends with this one: on Linux whatever ends this one, elsewhere if it heeds the end of its
// standard input.
type program struct {
	name string
	pid  int
	ends func(os.Signal) error
	in   io.Closer
	out  chan string   // the first line that it writes; closed at the end of its output
	over chan struct{} // closed when it has ended
	said said
}

// startProgram starts a program. env is added to what is there.
func startProgram(ctx context.Context, dir string, env []string, name string, args ...string) (*program, error) {
	p := &program{name: name, out: make(chan string, 1), over: make(chan struct{})}
	// Not bound to ctx: it is ended in order, by stop.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, args...)
	cmd.Dir, cmd.Env, cmd.Stderr, cmd.SysProcAttr = dir, append(os.Environ(), env...), &p.said, attributes()
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	started := make(chan error)
	go func() {
		// On Linux a child is told to end when the thread that started it does: this goroutine keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid, p.ends = cmd.Process.Pid, cmd.Process.Signal
		}
		started <- err
		if err == nil {
			p.listen(out)
			_ = cmd.Wait()
			close(p.over)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// listen takes what the program writes, to its end.
func (p *program) listen(out io.Reader) {
	defer close(p.out)
	from := bufio.NewReader(out)
	if line, err := from.ReadString('\n'); err == nil {
		p.out <- line
	}
	_, _ = io.Copy(io.Discard, from)
}

// line waits for the first line.
func (p *program) line(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	select {
	case line, ok := <-p.out:
		if ok {
			return line, nil
		}
		<-p.over
		return "", fmt.Errorf("%s ended: %s", p.name, p.said.String())
	case <-ctx.Done():
		return "", fmt.Errorf("%s is not ready: %w", p.name, context.Cause(ctx))
	}
}

// stop ends the program by its process id, politely at first, and waits for that.
func (p *program) stop() {
	_ = p.in.Close()
	_ = p.ends(syscall.SIGTERM)
	late := time.AfterFunc(stopTime, func() { _ = p.ends(os.Kill) })
	defer late.Stop()
	<-p.over
}

// said keeps the beginning of what a program writes to standard error, which is where the reason of a failure is.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

const mostSaid = 4 << 10

// Write keeps what there is room for.
func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Write(b[:min(len(b), max(0, mostSaid-s.b.Len()))])
	return len(b), nil
}

// String returns it.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(s.b.String())
}

// startRedis starts a Redis that stores nothing, as the one of `beeline bench --self` does.
func startRedis(ctx context.Context) (*program, string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, "", errors.New("there is no redis-server on PATH: install Redis 7 or later")
	}
	const tries = 3 // a free port can be gone before the server takes it
	for range tries {
		var p *program
		var addr string
		if addr, err = freeAddr(ctx); err != nil {
			return nil, "", err
		}
		_, port, _ := net.SplitHostPort(addr)
		p, err = startProgram(ctx, os.TempDir(), nil, path, "--bind", localhost, "--port", port,
			"--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning")
		if err != nil {
			return nil, "", err
		}
		if err = p.answers(ctx, addr); err == nil {
			return p, addr, nil
		}
		p.stop()
	}
	return nil, "", err
}

const localhost = "127.0.0.1"

// freeAddr returns an address of this machine that nobody listened on a moment ago.
func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(localhost, "0"))
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// answers asks until Redis answers.
func (p *program) answers(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ping(ctx, addr)
		if err == nil {
			return nil
		}
		select {
		case <-p.over:
			return fmt.Errorf("%s ended: %s", p.name, p.said.String())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", p.name, err)
		case <-tick.C:
		}
	}
}

// ping asks a Redis whether it is ready.
func ping(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "+PONG") {
		err = fmt.Errorf("it says %q", line)
	}
	return err
}
