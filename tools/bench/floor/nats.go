package floor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/pace"
	"github.com/beeline-rt/beeline/tools/bench/proc"
)

// Hop returns the CPU time that one message from a process to another through a NATS server costs all three of them. The
// two speak its protocol without a library: a write for what is due at a moment, and a read for what has come.
func Hop(ctx context.Context, command []string, pattern Pattern) (time.Duration, error) {
	var p parts
	defer p.stop()
	server, err := p.start(ctx, command, NATSPart)
	if err != nil {
		return 0, err
	}
	var at NATS
	if err := server.Call(ctx, struct{}{}, &at); err != nil {
		return 0, err
	}
	subscriber, err := p.start(ctx, command, subscribePart)
	if err != nil {
		return 0, err
	}
	publisher, err := p.start(ctx, command, publishPart)
	if err != nil {
		return 0, err
	}
	for _, one := range []*proc.Part{subscriber, publisher} {
		if err := one.Call(ctx, runRequest{Address: at.URL}, &count{}); err != nil {
			return 0, err
		}
	}
	each, err := runPattern(ctx, publisher, pattern, publisher, server, subscriber)
	if err != nil {
		return 0, err
	}
	var got count
	if err := subscriber.Call(ctx, runRequest{}, &got); err != nil {
		return 0, err
	}
	if got.N == 0 {
		return 0, errors.New("measure the floor: nothing came through NATS")
	}
	return each, nil
}

const subject = "floor"

// dialNATS connects as a client that wants no acknowledgments.
func dialNATS(ctx context.Context, address string) (net.Conn, *bufio.Reader, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, nil, err
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, nil, err
	}
	from := bufio.NewReader(c)
	_, err = from.ReadString('\n') // INFO
	if err == nil {
		_, err = io.WriteString(c, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"go\",\"version\":\"0\",\"protocol\":1}\r\nPING\r\n")
	}
	line := ""
	for err == nil && line != "PONG\r\n" {
		line, err = from.ReadString('\n')
	}
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return c, from, nil
}

// serveSubscribe is the process that gets the messages: it counts their bytes.
func serveSubscribe(ctx context.Context, in io.Reader, out io.Writer) error {
	var (
		c      net.Conn
		got    atomic.Int64
		reader sync.WaitGroup
	)
	defer func() {
		if c != nil {
			_ = c.Close()
		}
		reader.Wait()
	}()
	return proc.Serve(ctx, in, out, func(ctx context.Context, request json.RawMessage) (any, error) {
		var r runRequest
		if err := json.Unmarshal(request, &r); err != nil {
			return nil, err
		}
		if c != nil {
			return count{int(got.Load())}, nil
		}
		var from *bufio.Reader
		var err error
		if c, from, err = dialNATS(ctx, r.Address); err != nil {
			return nil, err
		}
		if _, err = io.WriteString(c, "SUB "+subject+" 1\r\nPING\r\n"); err != nil {
			return nil, err
		}
		if _, err = from.ReadString('\n'); err != nil { // PONG: it is subscribed
			return nil, err
		}
		reader.Go(func() {
			for b := make([]byte, 64<<10); ; {
				n, err := from.Read(b)
				if err != nil {
					return
				}
				got.Add(int64(n))
			}
		})
		return count{}, nil
	})
}

// servePublish is the process that sends them.
func servePublish(ctx context.Context, in io.Reader, out io.Writer) error {
	var c net.Conn
	defer func() {
		if c != nil {
			_ = c.Close()
		}
	}()
	return proc.Serve(ctx, in, out, func(ctx context.Context, request json.RawMessage) (any, error) {
		var r runRequest
		if err := json.Unmarshal(request, &r); err != nil {
			return nil, err
		}
		if r.Run == nil {
			var err error
			c, _, err = dialNATS(ctx, r.Address)
			return count{}, err
		}
		return publish(ctx, c, *r.Run)
	})
}

// publish writes what is due at a moment with one system call.
func publish(ctx context.Context, c io.Writer, p Pattern) (count, error) {
	one := append(fmt.Appendf(nil, "PUB %s %d\r\n", subject, p.Size), bytes.Repeat([]byte("x"), p.Size)...)
	one = append(one, "\r\n"...)
	var waiting []byte
	start, schedule := time.Now(), pace.Schedule{Rate: p.Rate, Burst: p.Burst}
	return paced(ctx, p, func(k uint64) error {
		waiting = append(waiting, one...)
		const most = 64 << 10
		if next := schedule.Due(k + 1); next <= int64(time.Since(start)) && next < int64(p.For) && len(waiting) < most {
			return nil // it goes with the next one
		}
		_, err := c.Write(waiting)
		waiting = waiting[:0]
		return err
	})
}
