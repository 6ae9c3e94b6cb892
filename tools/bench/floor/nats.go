package floor

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/beeline-rt/beeline/tools/bench/proc"
)

// Hop returns the CPU time that one message from a process to another through a NATS server costs all three of them.
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
	return runPattern(ctx, publisher, pattern, publisher, server, subscriber)
}

const (
	subject   = "floor"
	flushTime = 10 * time.Second
)

// serveSubscribe is the process that gets the messages.
func serveSubscribe(ctx context.Context, in io.Reader, out io.Writer) error {
	var got atomic.Int64
	return serveNATS(ctx, in, out, func(_ context.Context, c *nats.Conn, _ runRequest) (any, error) {
		if _, err := c.Subscribe(subject, func(*nats.Msg) { got.Add(1) }); err != nil {
			return nil, err
		}
		return count{}, c.Flush()
	})
}

// servePublish is the process that sends them.
func servePublish(ctx context.Context, in io.Reader, out io.Writer) error {
	return serveNATS(ctx, in, out, func(ctx context.Context, c *nats.Conn, r runRequest) (any, error) {
		if r.Run == nil {
			return count{}, nil
		}
		data := bytes.Repeat([]byte("x"), r.Run.Size)
		n, err := paced(ctx, *r.Run, func(uint64) error { return c.Publish(subject, data) })
		if err == nil {
			err = c.FlushTimeout(flushTime)
		}
		return n, err
	})
}

// serveNATS is a process with a connection to NATS, which the first request names.
func serveNATS(ctx context.Context, in io.Reader, out io.Writer, handle func(context.Context, *nats.Conn, runRequest) (any, error)) error {
	var c *nats.Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	return proc.Serve(ctx, in, out, func(ctx context.Context, request json.RawMessage) (any, error) {
		var r runRequest
		if err := json.Unmarshal(request, &r); err != nil {
			return nil, err
		}
		if c == nil {
			var err error
			if c, err = nats.Connect(r.Address); err != nil {
				return nil, err
			}
		}
		return handle(ctx, c, r)
	})
}
