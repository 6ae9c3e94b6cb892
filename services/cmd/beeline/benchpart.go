package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/beeline-rt/beeline/broker/embedded"
	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/floor"
	"github.com/beeline-rt/beeline/tools/bench/proc"
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
