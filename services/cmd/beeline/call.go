package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

// callCmd calls a backend service once.
type callCmd struct {
	Connect    connectFlags  `embed:""`
	Service    string        `name:"service" required:"" placeholder:"NAME" help:"What to call."`
	Key        string        `name:"key" placeholder:"KEY" help:"Calls with one key go to one instance of the service."`
	Idempotent bool          `name:"idempotent" help:"To carry it out twice does no harm: it is tried again if the instance that has it dies."`
	Text       bool          `name:"text" help:"Send DATA as a JSON string, whatever it is."`
	Timeout    time.Duration `name:"timeout" default:"10s" placeholder:"${default}" help:"For all of it: connect, call, hear the answer."`
	Data       string        `arg:"" help:"What to call it with: a JSON value, in quotes for the shell; - reads it from standard input."`
}

// Help is the text between the usage and the flags.
func (*callCmd) Help() string {
	return "It prints the answer, or fails and says why there is none.\n\n" +
		"  beeline call --as alice --service echo --key k1 '{\"n\":1}'"
}

// Run makes the call, and prints the answer.
func (c *callCmd) Run(ctx context.Context, p *process) error {
	if _, err := contracts.ParseServiceName(c.Service); err != nil {
		return usagef("--service: %w (a service has a-z, 0-9 and -)", err)
	}
	if c.Key != "" {
		if _, err := contracts.ParseCallKey(c.Key); err != nil {
			return badName("key", err)
		}
	}
	data, err := (&sendCmd{Text: c.Text, Data: c.Data}).data(p.stdin)
	if err != nil {
		return err
	}
	if c.Timeout < time.Millisecond {
		return usagef("--timeout must be positive")
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := c.Connect.dial(ctx, p, client.Options{})
	if err != nil {
		return explainTime(err, c.Timeout)
	}
	done := p.waiting("waiting for the answer")
	answer, err := conn.Call(ctx, contracts.ServiceName(c.Service), data, client.CallOptions{
		Key: contracts.CallKey(c.Key), Idempotent: c.Idempotent, Timeout: min(c.Timeout, contracts.MaxCallTimeout).Truncate(time.Millisecond),
	})
	done()
	if err != nil {
		return errors.Join(explainCall(err, c.Service, c.Timeout), conn.Close())
	}
	fmt.Fprintln(p.stdout, printable(answer))
	return conn.Close()
}

// explainCall names the service of which the server says something.
func explainCall(err error, service string, limit time.Duration) error {
	if answer, ok := errors.AsType[*contracts.Error](err); ok {
		return &contracts.Error{Code: answer.Code, Message: "service " + service + ": " + answer.Message, Unsure: answer.Unsure}
	}
	if errors.Is(err, context.DeadlineExceeded) && client.MayHaveArrived(err) {
		return fmt.Errorf("no answer within %v: the call may or may not be carried out", limit)
	}
	return explainTime(err, limit)
}
