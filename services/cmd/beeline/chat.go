package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

// chatCmd sends lines, and prints what comes.
type chatCmd struct {
	Connect connectFlags `embed:""`
	To      string       `name:"to" required:"" placeholder:"NAME" help:"Who you talk to."`
}

// Help is the text between the usage and the flags.
func (*chatCmd) Help() string {
	return "Each line is sent as a JSON string and marked: ✓ delivered, ✗ and why not. Ctrl-D ends it.\n\n" +
		"  beeline chat --as alice --to bob"
}

// answerTime bounds the wait for what became of one line.
const answerTime = 10 * time.Second

// Run sends what is typed until that ends, and prints what others send.
func (c *chatCmd) Run(ctx context.Context, p *process) error {
	to, err := contracts.ParseClientID(c.To)
	if err != nil {
		return badName("to", err)
	}
	conn, err := c.Connect.dial(ctx, p, client.Options{OnState: reporter(p), Handler: func(m client.Message) {
		fmt.Fprintf(p.stdout, "%s: %s\n", m.From, readable(m.Data))
	}})
	if err != nil {
		return err
	}
	if p.terminal {
		fmt.Fprintf(p.stderr, "type lines for %s; Ctrl-D ends\n", to)
	}
	return errors.Join(c.talk(ctx, p, conn, to), conn.Close())
}

// talk sends line after line, until there are no more or the connection is over for good. It fails if a line was not
// delivered, which has been said then.
func (c *chatCmd) talk(ctx context.Context, p *process, conn *client.Client, to contracts.ClientID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := readLines(ctx, p.stdin)
	failed := false
	for {
		select {
		case line := <-lines:
			switch {
			case errors.Is(line.err, io.EOF) && failed:
				return &quietError{}
			case errors.Is(line.err, io.EOF):
				return nil
			case line.err != nil:
				return fmt.Errorf("read standard input: %w", line.err)
			case line.text != "":
				failed = !c.say(ctx, p, conn, to, line.text) || failed
			}
		case <-conn.Done():
			return conn.Err()
		case <-ctx.Done():
			return nil
		}
	}
}

// say sends one line, marks what became of it, and reports whether it was delivered.
func (c *chatCmd) say(ctx context.Context, p *process, conn *client.Client, to contracts.ClientID, text string) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	done := p.waiting("waiting to hear what became of the line")
	result, err := conn.Send(ctx, to, quote(text))
	done()
	if err != nil {
		fmt.Fprintf(p.stdout, "  ✗ %s\n", sentence(explainSend(err, to, answerTime)))
		return false
	}
	fmt.Fprintf(p.stdout, "  ✓ %s\n", result.Status)
	return true
}

// line is one line of standard input, or how that ended.
type line struct {
	text string
	err  error
}

// readLines reads lines in a goroutine of its own, which nobody waits for: a read from a terminal cannot be called off,
// and ends with the process.
func readLines(ctx context.Context, from io.Reader) <-chan line {
	lines := make(chan line)
	hand := func(l line) bool {
		select {
		case lines <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		scanner := bufio.NewScanner(from)
		scanner.Buffer(nil, maxInput)
		for scanner.Scan() {
			if !hand(line{text: scanner.Text()}) {
				return
			}
		}
		err := scanner.Err()
		if err == nil {
			err = io.EOF
		}
		hand(line{err: err})
	}()
	return lines
}
