package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

// listenCmd prints what a client gets.
type listenCmd struct {
	Connect connectFlags  `embed:""`
	Count   int           `name:"count" placeholder:"N" help:"End after N messages. Not given: go on until Ctrl-C."`
	Timeout time.Duration `name:"timeout" placeholder:"TIME" help:"End after this time, such as 10s; with --count, having got fewer is a failure."`
	JSON    bool          `name:"json" help:"Print each message as the server sent it, one JSON object a line."`
}

// Help is the text between the usage and the flags.
func (*listenCmd) Help() string {
	return "It goes on when the connection breaks, and says so on standard error.\n\n" +
		"  beeline listen --as bob"
}

// Run prints messages until there were enough, the time is over or ctx ends.
func (c *listenCmd) Run(ctx context.Context, p *process) error {
	if c.Count < 0 || c.Timeout < 0 {
		return usagef("--count and --timeout must not be negative")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	messages := make(chan client.Message)
	hand := func(m client.Message) {
		select {
		case messages <- m:
		case <-ctx.Done():
		}
	}
	conn, err := c.Connect.dial(ctx, p, hand, reporter(p))
	if err != nil {
		return explainTime(err, c.Timeout)
	}
	err = c.print(ctx, p, conn, messages)
	cancel() // nothing is handed over any more
	return errors.Join(err, conn.Close())
}

// print prints messages as they come.
func (c *listenCmd) print(ctx context.Context, p *process, conn *client.Client, messages <-chan client.Message) error {
	for got := 0; ; {
		select {
		case m := <-messages:
			c.printOne(p, m)
			if got++; got == c.Count {
				return nil
			}
		case <-conn.Done():
			return conn.Err()
		case <-ctx.Done():
			return c.ended(ctx, got)
		}
	}
}

// printOne prints one message on a line of its own.
func (c *listenCmd) printOne(p *process, m client.Message) {
	if c.JSON {
		_, _ = p.stdout.Write(contracts.EncodeMsg(m.From, m.Data))
		return
	}
	fmt.Fprintf(p.stdout, "%s: %s\n", m.From, printable(m.Data))
}

// ended says whether it is a failure that ctx ended.
func (c *listenCmd) ended(ctx context.Context, got int) error {
	switch {
	case c.Count == 0:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%d of %d messages came within %v", got, c.Count, c.Timeout)
	default:
		return fmt.Errorf("interrupted: %d of %d messages came", got, c.Count)
	}
}
