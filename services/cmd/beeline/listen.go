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
	Groups  []string      `name:"group" placeholder:"GROUP" help:"Join this group, and print what is published to it, too. Repeat it for more."`
	Watch   []string      `name:"watch" placeholder:"NAME" help:"Say whether this client is online, and whenever that changes, too. Repeat it for more."`
	Count   int           `name:"count" placeholder:"N" help:"End after N messages. Not given: go on until Ctrl-C."`
	Timeout time.Duration `name:"timeout" placeholder:"TIME" help:"End after this time, such as 10s; with --count, having got fewer is a failure."`
	JSON    bool          `name:"json" help:"Print each message, and each change of --watch, as the server sent it, one JSON object a line."`
}

// Help is the text between the usage and the flags.
func (*listenCmd) Help() string {
	return "It goes on when the connection breaks, and says so on standard error.\n\n" +
		"  beeline listen --as bob\n" +
		"  beeline listen --as bob --group room --group news\n" +
		"  beeline listen --as bob --watch carol"
}

// Run prints messages until there were enough, the time is over or ctx ends.
func (c *listenCmd) Run(ctx context.Context, p *process) error {
	if c.Count < 0 || c.Timeout < 0 {
		return usagef("--count and --timeout must not be negative")
	}
	for _, g := range c.Groups {
		if _, err := contracts.ParseGroupName(g); err != nil {
			return badName("group", err)
		}
	}
	for _, id := range c.Watch {
		if _, err := contracts.ParseClientID(id); err != nil {
			return badName("watch", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	heard := make(chan any)
	hand := func(what any) {
		select {
		case heard <- what:
		case <-ctx.Done():
		}
	}
	conn, err := c.Connect.dial(ctx, p, client.Options{
		Handler: func(m client.Message) { hand(m) }, OnPresence: func(p client.Presence) { hand(p) }, OnState: reporter(p),
	})
	if err != nil {
		return explainTime(err, c.Timeout)
	}
	if err = c.join(ctx, p, conn); err == nil {
		err = c.watch(ctx, conn)
	}
	if err == nil {
		err = c.print(ctx, p, conn, heard)
	}
	cancel() // nothing is handed over any more
	return errors.Join(err, conn.Close())
}

// join joins the groups, while messages wait. The client is in them again by itself when it connects again.
func (c *listenCmd) join(ctx context.Context, p *process, conn *client.Client) error {
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for _, g := range c.Groups {
		switch err := conn.Join(limited, contracts.GroupName(g)); {
		case err == nil:
			fmt.Fprintf(p.stderr, "joined %s\n", g)
		case ctx.Err() != nil:
			return c.ended(ctx, 0)
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("join %s: no answer within %v", g, answerTime)
		default:
			return explainGroup(err, contracts.GroupName(g))
		}
	}
	return nil
}

// watch watches whom it is to watch. What they are comes as what they become does.
func (c *listenCmd) watch(ctx context.Context, conn *client.Client) error {
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	clients := make([]contracts.ClientID, len(c.Watch))
	for i, id := range c.Watch {
		clients[i] = contracts.ClientID(id)
	}
	switch _, err := conn.Watch(limited, clients...); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return c.ended(ctx, 0)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("watch: no answer within %v", answerTime)
	default:
		return explainWatch(err)
	}
}

// print prints messages, and who comes and goes.
func (c *listenCmd) print(ctx context.Context, p *process, conn *client.Client, heard <-chan any) error {
	for got := 0; ; {
		select {
		case what := <-heard:
			switch what := what.(type) {
			case client.Presence:
				c.printPresence(p, what)
			case client.Message:
				c.printOne(p, what)
				if got++; got == c.Count {
					return nil
				}
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
		frame := contracts.EncodeMsg(m.From, m.Data)
		if m.Group != "" {
			frame = contracts.EncodeGroupMsg(m.From, m.Group, m.Data)
		}
		_, _ = p.stdout.Write(frame)
		return
	}
	if m.Group != "" {
		fmt.Fprintf(p.stdout, "%s ", m.Group)
	}
	fmt.Fprintf(p.stdout, "%s: %s\n", m.From, printable(m.Data))
}

// printPresence prints what a watched client is now.
func (c *listenCmd) printPresence(p *process, who client.Presence) {
	switch {
	case c.JSON:
		_, _ = p.stdout.Write(contracts.AppendPresence(nil, who.Client, who.Online))
	case who.Online:
		fmt.Fprintf(p.stdout, "%s is online\n", who.Client)
	default:
		fmt.Fprintf(p.stdout, "%s is offline\n", who.Client)
	}
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
