package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

// sendCmd sends one message, to a client or to a group.
type sendCmd struct {
	Connect connectFlags  `embed:""`
	To      string        `name:"to" placeholder:"NAME" help:"Who gets it."`
	Group   string        `name:"group" placeholder:"GROUP" help:"In place of --to: all members of this group get it. You need not be one."`
	Text    bool          `name:"text" help:"Send DATA as a JSON string, whatever it is."`
	Timeout time.Duration `name:"timeout" default:"10s" placeholder:"${default}" help:"For all of it: connect, send, hear what became of it."`
	Data    string        `arg:"" help:"What to send: a JSON value, in quotes for the shell; - reads it from standard input."`
}

// Help is the text between the usage and the flags.
func (*sendCmd) Help() string {
	return "It prints delivered, or to how many nodes it was sent for a group, or fails and says why not.\n\n" +
		"  beeline send --as alice --to bob '{\"hi\":1}'\n" +
		"  beeline send --as alice --to bob --text hello\n" +
		"  beeline send --as alice --group room '{\"hi\":1}'"
}

// Run sends the message, and says what became of it.
func (c *sendCmd) Run(ctx context.Context, p *process) error {
	if err := c.check(); err != nil {
		return err
	}
	data, err := c.data(p.stdin)
	if err != nil {
		return err
	}
	if c.Timeout <= 0 {
		return usagef("--timeout must be positive")
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := c.Connect.dial(ctx, p, client.Options{})
	if err != nil {
		return explainTime(err, c.Timeout)
	}
	done := p.waiting("waiting to hear what became of the message")
	told, err := c.send(ctx, conn, data)
	done()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	fmt.Fprintln(p.stdout, told)
	return conn.Close()
}

// check refuses flags that do not say, or say twice, who gets it.
func (c *sendCmd) check() error {
	switch {
	case c.To == "" && c.Group == "":
		return usagef("say who gets it: --to NAME, or --group GROUP")
	case c.To != "" && c.Group != "":
		return usagef("--to and --group: give one of them")
	case c.Group != "":
		if _, err := contracts.ParseGroupName(c.Group); err != nil {
			return badName("group", err)
		}
		return nil
	}
	if _, err := contracts.ParseClientID(c.To); err != nil {
		return badName("to", err)
	}
	return nil
}

// send sends the message, and returns what to tell of it.
func (c *sendCmd) send(ctx context.Context, conn *client.Client, data []byte) (string, error) {
	if c.Group == "" {
		result, err := conn.Send(ctx, contracts.ClientID(c.To), data)
		if err != nil {
			return "", explainSend(err, contracts.ClientID(c.To), c.Timeout)
		}
		return string(result.Status), nil
	}
	result, err := conn.Publish(ctx, contracts.GroupName(c.Group), data)
	switch {
	case err != nil:
		return "", explainTime(explainGroup(err, contracts.GroupName(c.Group)), c.Timeout)
	case result.Nodes == 0:
		return "sent to 0 nodes: the group has no members", nil
	case result.Nodes == 1:
		return "sent to 1 node", nil
	}
	return fmt.Sprintf("sent to %d nodes", result.Nodes), nil
}

// maxInput bounds what is read from standard input, in bytes: no server takes more.
const maxInput = contracts.MaxMaxFrame

// data returns the JSON value to send.
func (c *sendCmd) data(stdin io.Reader) ([]byte, error) {
	data := []byte(c.Data)
	if c.Data == "-" {
		var err error
		data, err = io.ReadAll(io.LimitReader(stdin, maxInput+1))
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		data = bytes.TrimRight(data, "\r\n")
	}
	if len(data) > maxInput {
		return nil, usagef("a message of more than %d bytes is not taken by any server", maxInput)
	}
	if c.Text {
		return quote(string(data)), nil
	}
	return oneLineJSON(data)
}

// quote returns a text as a JSON string.
func quote(text string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// oneLineJSON returns a JSON value as it may be sent: without line breaks, which stand only between its parts.
func oneLineJSON(data []byte) ([]byte, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil, usagef("there is nothing to send: give a JSON value, such as '{\"hi\":1}'")
	}
	var line bytes.Buffer
	if json.Compact(&line, data) != nil {
		return nil, usagef(`%s is not JSON: quote it for the shell and for JSON, as in '"hello"', or use --text`, shorten(data))
	}
	if bytes.ContainsAny(data, "\r\n") {
		data = line.Bytes()
	}
	if !contracts.ValidData(data) {
		return nil, usagef("this JSON value is not taken: it nests deeper than %d, or is not UTF-8", contracts.MaxDepth)
	}
	return data, nil
}

// shorten returns the beginning of what somebody typed, for an error.
func shorten(data []byte) string {
	const most = 40
	text := []rune(printable(data))
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}
