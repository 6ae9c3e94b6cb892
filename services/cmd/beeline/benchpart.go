package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/beeline-rt/beeline/broker/embedded"
	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/floor"
	"github.com/beeline-rt/beeline/tools/bench/proc"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// benchPartCmd is a process of a measurement.
type benchPartCmd struct {
	Role string `arg:"" help:"Which."`
}

// Run is the part, until standard input ends.
func (c *benchPartCmd) Run(ctx context.Context, p *process) error {
	switch c.Role {
	case floor.NATSPart:
		return serveNATS(ctx, p)
	case bench.BackendPart:
		return serveBackend(ctx, p)
	case bench.RequestPart:
		return serveRequester(ctx, p)
	case relayPart:
		return serveRelay(ctx, p)
	case bench.SystemPart:
		return serveSystem(ctx, p)
	}
	return bench.ServePart(ctx, c.Role, bench.Beeline{}, p.stdin, p.stdout)
}

// serveNATS runs a NATS server in this process.
func serveNATS(ctx context.Context, p *process) error {
	s, err := embedded.Start(embedded.Options{Name: "nats-bench"})
	if err != nil {
		return err
	}
	defer s.Shutdown()
	return proc.Serve(ctx, p.stdin, p.stdout, func(context.Context, json.RawMessage) (any, error) {
		messages, err := s.Messages()
		if err != nil {
			return nil, fmt.Errorf("nats: %w", err)
		}
		return floor.NATS{URL: s.URL(), Messages: messages}, nil
	})
}

// serveSystem runs a system that somebody else measures, from the first request on.
func serveSystem(ctx context.Context, p *process) (err error) {
	var t *target
	defer func() {
		if t != nil {
			err = errors.Join(err, t.stop(context.WithoutCancel(ctx)))
		}
	}()
	return proc.Serve(ctx, p.stdin, p.stdout, func(ctx context.Context, request json.RawMessage) (any, error) {
		var asked bench.SystemRequest
		if err := json.Unmarshal(request, &asked); err != nil {
			return nil, err
		}
		if t == nil {
			command, err := benchPart()
			if err != nil {
				return nil, err
			}
			if t, err = startSelf(ctx, asked.Edges, command, false); err != nil {
				return nil, err
			}
		}
		s := bench.System{URLs: t.env.URLs}
		for _, one := range t.env.Servers {
			if pid, ok := one.Source.(usage.PID); ok {
				s.Servers = append(s.Servers, bench.Server{Name: one.Name, PID: int(pid), Client: one.Client})
			}
		}
		return s, nil
	})
}
