package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/proc"
)

// beelineBinary is the program, from the root of the source.
const beelineBinary = "bin/beeline"

// beeline is this system, as `beeline bench --self` runs it: two edges, NATS and Redis, each a process.
func beeline() peer {
	return peer{
		name: "beeline", title: "Beeline", driver: bench.Beeline{}, start: startBeeline,
		answer: "delivered: the recipient's node has written the message to its connection",
		prepare: func(context.Context) error {
			if _, err := os.Stat(beelineBinary); err != nil {
				return fmt.Errorf("%s is not there: run this as ./task bench:peers, which builds it", beelineBinary)
			}
			return nil
		},
	}
}

func startBeeline(ctx context.Context) (*running, error) {
	p, err := proc.Start(ctx, []string{"./" + beelineBinary, "bench", "part"}, bench.SystemPart)
	if err != nil {
		return nil, err
	}
	r := &running{about: "two edges, NATS in a process of its own, Redis", stop: p.Stop}
	if err := p.Call(ctx, bench.SystemRequest{Edges: nodes}, &r.System); err != nil {
		p.Stop()
		return nil, err
	}
	if len(r.URLs) != nodes {
		p.Stop()
		return nil, errors.New("beeline has not told where its edges are")
	}
	return r, nil
}
