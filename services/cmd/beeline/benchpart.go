package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/beeline-rt/beeline/broker/embedded"
	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/proc"
)

// benchPartCmd is a process of a measurement.
type benchPartCmd struct {
	Role string `arg:"" help:"Which."`
}

// natsPart is the part that is a NATS server.
const natsPart = "nats"

// Run is the part, until standard input ends.
func (c *benchPartCmd) Run(ctx context.Context, p *process) error {
	switch c.Role {
	case natsPart:
		return serveNATS(ctx, p)
	}
	return bench.ServePart(ctx, c.Role, bench.Beeline{}, p.stdin, p.stdout)
}

// natsAnswer is what the NATS server says to whatever it is asked.
type natsAnswer struct {
	URL      string `json:"url"`
	Messages uint64 `json:"messages"` // in and out, since its start
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
		return natsAnswer{URL: s.URL(), Messages: messages}, nil
	})
}
