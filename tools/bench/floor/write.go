package floor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/pace"
	"github.com/beeline-rt/beeline/tools/bench/proc"
)

// Write returns the CPU time that one write to a TCP connection of this machine costs the process that writes, over
// several connections in turn; another process reads.
func Write(ctx context.Context, command []string, conns int, pattern Pattern) (time.Duration, error) {
	var p parts
	defer p.stop()
	reader, err := p.start(ctx, command, readPart)
	if err != nil {
		return 0, err
	}
	writer, err := p.start(ctx, command, writePart)
	if err != nil {
		return 0, err
	}
	var at addressAnswer
	if err := reader.Call(ctx, runRequest{}, &at); err != nil {
		return 0, err
	}
	var connected count
	if err := writer.Call(ctx, runRequest{Address: at.Address, Conns: conns}, &connected); err != nil {
		return 0, err
	}
	return runPattern(ctx, writer, pattern, writer)
}

// serveRead is the process that reads.
func serveRead(ctx context.Context, in io.Reader, out io.Writer) error {
	return serveEach(ctx, in, out, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }) // until the writer ends
}

// serveWrite is the process that writes.
func serveWrite(ctx context.Context, in io.Reader, out io.Writer) error {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	return proc.Serve(ctx, in, out, func(ctx context.Context, request json.RawMessage) (any, error) {
		var r runRequest
		if err := json.Unmarshal(request, &r); err != nil {
			return nil, err
		}
		for range r.Conns {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", r.Address)
			if err != nil {
				return nil, err
			}
			conns = append(conns, c)
		}
		if r.Run == nil {
			return count{len(conns)}, nil
		}
		frame := bytes.Repeat([]byte("x"), r.Run.Size)
		return paced(ctx, *r.Run, func(k uint64) error {
			_, err := conns[k%uint64(len(conns))].Write(frame)
			return err
		})
	})
}

// paced does something at a rate.
func paced(ctx context.Context, p Pattern, do func(k uint64) error) (count, error) {
	if p.Rate <= 0 {
		return count{}, fmt.Errorf("a rate of %g", p.Rate)
	}
	start := time.Now()
	var n count
	schedule := pace.Schedule{Rate: p.Rate, Burst: p.Burst, Alone: true}
	err := schedule.Run(ctx, func() int64 { return int64(time.Since(start)) }, int64(p.For), func(k uint64, _ int64) error {
		n.N++
		return do(k)
	})
	return n, err
}
