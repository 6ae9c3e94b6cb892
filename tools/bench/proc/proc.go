// Package proc runs pieces of a measurement as processes of their own, so that each has its own account with the
// operating system, and its own files. A part is this program again. It is told what to do in lines of JSON on standard
// input, answers each with one on standard output, and ends when the former does: so it never outlives who started it.
package proc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// stopTime is how long a part has to end by itself.
const stopTime = 3 * time.Second

// Part is a process. One goroutine uses it at a time.
type Part struct {
	// set once
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	said   bytes.Buffer // on standard error; to be read when it has ended
	waited sync.Once
}

// answer is a line that a part says.
type answer struct {
	OK    json.RawMessage `json:"ok,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Start starts the part with a name: command, which names this program, is followed by it.
func Start(ctx context.Context, command []string, name string) (*Part, error) {
	if len(command) == 0 {
		return nil, errors.New("start a part: there is no command for it")
	}
	// Not bound to ctx: it is ended in order, by Stop.
	args := append(append([]string{}, command[1:]...), name)
	p := &Part{name: name, cmd: exec.CommandContext(context.WithoutCancel(ctx), command[0], args...)} //nolint:gosec // it is this program
	p.cmd.Stderr = &p.said
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the part %s: %w", name, err)
	}
	return p, nil
}

// PID is its process id.
func (p *Part) PID() int { return p.cmd.Process.Pid }

// Call asks for something and waits for the answer. When ctx ends first, the part is ended.
func (p *Part) Call(ctx context.Context, request, into any) error {
	defer context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })()
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return p.gone(ctx, err)
	}
	line, err = p.out.ReadBytes('\n')
	if err != nil {
		return p.gone(ctx, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("the part %s: %w", p.name, err)
	}
	if a.Error != "" {
		return fmt.Errorf("%s: %s", p.name, a.Error)
	}
	return json.Unmarshal(a.OK, into)
}

// gone says why a part does not answer.
func (p *Part) gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.Stop()
	return fmt.Errorf("the part %s ended: %w: %s", p.name, err, bytes.TrimSpace(p.said.Bytes()))
}

// Stop ends it, and returns when it has ended. It may be called twice.
func (p *Part) Stop() {
	p.waited.Do(func() {
		_ = p.in.Close()
		late := time.AfterFunc(stopTime, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		_ = p.cmd.Wait()
	})
}

// Serve is the part's side: it answers requests until there are no more, or ctx ends. ctx as the handler gets it ends as soon as
// nobody is there any more to answer.
func Serve(ctx context.Context, in io.Reader, out io.Writer, handle func(ctx context.Context, request json.RawMessage) (any, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan json.RawMessage)
	go func() { // a read of standard input cannot be called off; it ends with the process
		defer cancel()
		for d := json.NewDecoder(in); ; {
			var line json.RawMessage
			if d.Decode(&line) != nil {
				return
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	encoder := json.NewEncoder(out)
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			if err := encoder.Encode(respond(ctx, line, handle)); err != nil {
				return err
			}
		}
	}
}

func respond(ctx context.Context, request json.RawMessage, handle func(context.Context, json.RawMessage) (any, error)) answer {
	v, err := handle(ctx, request)
	if err != nil {
		return answer{Error: err.Error()}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{OK: b}
}
