package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/proc"
)

// relayPart is the name of the part that runs a proxy which somebody else wrote, from the first request on. It is a process between, for a
// proxy may have workers, whom nobody would end if this one were killed.
const relayPart = "relay"

// relayConf is what the file of a proxy's configuration is called, in the directory that it runs in.
const relayConf = "relay.conf"

// relayRequest says what to run.
type relayRequest struct {
	Name    string   `json:"name"`
	Program string   `json:"program"` // its path
	Args    []string `json:"args"`
	Conf    string   `json:"conf"`    // the text of its configuration
	Address string   `json:"address"` // where it takes connections when it is ready
}

// relayAnswer says which process it is.
type relayAnswer struct {
	PID int `json:"pid"`
}

// relay is a proxy that runs.
type relay struct {
	*child
	dir string // that it runs in
}

// serveRelay runs a proxy, until standard input ends.
func serveRelay(ctx context.Context, p *process) (err error) {
	var r *relay
	defer func() {
		if r != nil {
			err = errors.Join(err, r.stop(context.WithoutCancel(ctx)))
		}
	}()
	return proc.Serve(ctx, p.stdin, p.stdout, func(ctx context.Context, request json.RawMessage) (any, error) {
		var asked relayRequest
		if err := json.Unmarshal(request, &asked); err != nil {
			return nil, err
		}
		if r == nil {
			if r, err = startRelay(ctx, asked); err != nil {
				return nil, fmt.Errorf("start %s: %w", asked.Name, err)
			}
		}
		return relayAnswer{PID: r.pid}, nil
	})
}

// startRelay starts a proxy, and waits until it takes connections. After an error nothing of it is left.
func startRelay(ctx context.Context, q relayRequest) (*relay, error) {
	dir, err := os.MkdirTemp("", "beeline-bench-")
	if err != nil {
		return nil, err
	}
	r := &relay{dir: dir}
	said := &tail{}
	err = r.start(ctx, q, said)
	if err == nil {
		return r, nil
	}
	_ = r.stop(context.WithoutCancel(ctx)) // now it says nothing more
	return nil, fmt.Errorf("%w: %s", err, said)
}

func (r *relay) start(ctx context.Context, q relayRequest, said *tail) error {
	if err := os.WriteFile(filepath.Join(r.dir, relayConf), []byte(q.Conf), 0o600); err != nil {
		return err
	}
	// Not bound to ctx: it is stopped in its order.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), q.Program, q.Args...) //nolint:gosec // what LookPath found
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = r.dir, childAttributes(), said, said
	c, err := startChild(cmd)
	if err != nil {
		return err
	}
	r.child = c
	return until(ctx, c.ended, func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", q.Address)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// stop ends it, and its workers with it.
func (r *relay) stop(ctx context.Context) error {
	var err error
	if r.child != nil {
		err = r.child.stop(ctx)
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

// until tries again and again, for as long as a start may take, or until a process has ended.
func until(ctx context.Context, ended <-chan struct{}, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, edgeStartTime)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// proxyPlaces are where administrators have such programs, who alone have these on PATH.
var proxyPlaces = []string{"/usr/sbin", "/usr/local/sbin"}

// findProxy returns the path of the program that a flag says. The flag has the program's name, the title is for people.
func findProxy(flag, title, program string) (string, error) {
	path, err := exec.LookPath(program)
	for i := 0; err != nil && program == flag && i < len(proxyPlaces); i++ {
		path, err = exec.LookPath(filepath.Join(proxyPlaces[i], program))
	}
	if err != nil {
		return "", usagef("--%s: %w: install %s, or say where it is", flag, err, title)
	}
	return filepath.Abs(path)
}
