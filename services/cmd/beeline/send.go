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
)

// sendCmd sends one message.
type sendCmd struct {
	Connect connectFlags  `embed:""`
	To      string        `name:"to" required:"" placeholder:"NAME" help:"Who gets it."`
	Text    bool          `name:"text" help:"Send DATA as a JSON string, whatever it is."`
	Timeout time.Duration `name:"timeout" default:"10s" placeholder:"${default}" help:"For all of it: connect, send, hear what became of it."`
	Data    string        `arg:"" help:"What to send: a JSON value, in quotes for the shell; - reads it from standard input."`
}

// Help is the text between the usage and the flags.
func (*sendCmd) Help() string {
	return "It prints delivered, or fails and says why not.\n\n" +
		"  beeline send --as alice --to bob '{\"hi\":1}'\n" +
		"  beeline send --as alice --to bob --text hello"
}

// Run sends the message, and says what became of it.
func (c *sendCmd) Run(ctx context.Context, p *process) error {
	to, err := contracts.ParseClientID(c.To)
	if err != nil {
		return usagef("--to: %w", err)
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
	conn, err := c.Connect.dial(ctx, p, nil, nil)
	if err != nil {
		return explainTime(err, c.Timeout)
	}
	done := p.waiting("waiting to hear what became of the message")
	result, err := conn.Send(ctx, to, data)
	done()
	if err != nil {
		return errors.Join(explainSend(err, to, c.Timeout), conn.Close())
	}
	fmt.Fprintln(p.stdout, result.Status)
	return conn.Close()
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
