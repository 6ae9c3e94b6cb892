package floor

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/proc"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// Held is what a process takes that accepts a TCP connection, answers one line, and waits for another.
type Held struct {
	CPU time.Duration
	RSS float64 // in bytes
}

// helloBuffer is what a connection reads into, on both sides.
const helloBuffer = 512

// Accept returns what one of so many connections costs the process that accepts them.
func Accept(ctx context.Context, command []string, conns int) (Held, error) {
	var p parts
	defer p.stop()
	acceptor, err := p.start(ctx, command, acceptPart)
	if err != nil {
		return Held{}, err
	}
	dialer, err := p.start(ctx, command, dialPart)
	if err != nil {
		return Held{}, err
	}
	var at addressAnswer
	if err := acceptor.Call(ctx, runRequest{}, &at); err != nil {
		return Held{}, err
	}
	var connected count
	var after, before usage.Sample
	if before, err = usage.PID(acceptor.PID()).Sample(ctx); err != nil {
		return Held{}, err
	}
	if err = dialer.Call(ctx, runRequest{Address: at.Address, Conns: conns}, &connected); err != nil {
		return Held{}, err
	}
	if after, err = usage.PID(acceptor.PID()).Sample(ctx); err != nil {
		return Held{}, err
	}
	n := float64(conns)
	return Held{CPU: time.Duration(float64(after.Since(before)) / n), RSS: float64(after.RSS-before.RSS) / n}, nil
}

// serveAccept is the process that accepts.
func serveAccept(ctx context.Context, in io.Reader, out io.Writer) error {
	return serveEach(ctx, in, out, echo)
}

// serveEach is a process that accepts connections, which handle has until they end, and that says where.
func serveEach(ctx context.Context, in io.Reader, out io.Writer, handle func(net.Conn)) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer l.Close()
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { handle(c) })
		}
	})
	return proc.Serve(ctx, in, out, func(context.Context, json.RawMessage) (any, error) {
		return addressAnswer{Address: l.Addr().String()}, nil
	})
}

// echo answers what comes, until the other side ends.
func echo(c net.Conn) {
	defer c.Close()
	b := make([]byte, helloBuffer)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

// serveDial is the process that connects.
func serveDial(ctx context.Context, in io.Reader, out io.Writer) error {
	var (
		mu    sync.Mutex
		conns []net.Conn // guarded by mu
	)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	hello := func(ctx context.Context, address string) error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		mu.Lock()
		conns = append(conns, c)
		mu.Unlock()
		b := make([]byte, helloBuffer)
		if _, err := c.Write([]byte("hello\n")); err != nil {
			return err
		}
		_, err = c.Read(b)
		return err
	}
	return proc.Serve(ctx, in, out, func(ctx context.Context, request json.RawMessage) (any, error) {
		var r runRequest
		if err := json.Unmarshal(request, &r); err != nil {
			return nil, err
		}
		const atOnce = 32
		errs := make(chan error, atOnce)
		for i := range atOnce {
			go func() {
				var err error
				for k := i; k < r.Conns && err == nil; k += atOnce {
					err = hello(ctx, r.Address)
				}
				errs <- err
			}()
		}
		var first error
		for range atOnce {
			if err := <-errs; first == nil {
				first = err
			}
		}
		return count{r.Conns}, first
	})
}
