package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/floor"
	"github.com/beeline-rt/beeline/tools/bench/proc"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// edgeStartTime bounds the wait for an edge to be ready.
const edgeStartTime = 20 * time.Second

// selfSystem is a system that is started to be measured: NATS, Redis and edges, each a process.
type selfSystem struct {
	nats    *proc.Part
	address string // of NATS
	redis   *devRedis
	edges   []*edgeChild
}

// edgeChild is an edge that runs as a process.
type edgeChild struct {
	*child
	name       string
	url, admin string
	said       *tail
}

// startSelf starts a system, whose edges may have more flags. After an error nothing of it is left.
func startSelf(ctx context.Context, edges int, command []string, profiles bool, more ...string) (*target, error) {
	s := &selfSystem{}
	t := &target{admins: map[string]string{}, stop: s.stop}
	err := s.start(ctx, edges, command, profiles, more...)
	if err != nil {
		return nil, errors.Join(err, s.stop(context.WithoutCancel(ctx)))
	}
	t.env = bench.Env{Driver: bench.Beeline{}, Command: command, Spent: s.spent}
	for _, e := range s.edges {
		t.admins[e.name] = e.admin
		t.env.URLs = append(t.env.URLs, e.url)
		t.env.Servers = append(t.env.Servers, usage.Process{Name: e.name, Source: usage.PID(e.pid), Client: true})
	}
	t.nats = s.address
	first := s.edges[0]
	t.env.Victim = bench.Victim{Name: first.name, Kill: func() error { return first.signal(os.Kill) }}
	t.env.Servers = append(t.env.Servers,
		usage.Process{Name: "nats", Source: usage.PID(s.nats.PID())}, usage.Process{Name: "redis", Source: usage.PID(s.redis.pid)})
	return t, nil
}

func (s *selfSystem) start(ctx context.Context, edges int, command []string, profiles bool, more ...string) error {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return errors.New("--self needs a redis-server on PATH: install Redis, or measure a system that runs, with --url")
	}
	var err error
	if s.nats, err = proc.Start(ctx, command, floor.NATSPart); err != nil {
		return err
	}
	var nats floor.NATS
	if err := s.nats.Call(ctx, struct{}{}, &nats); err != nil {
		return err
	}
	s.address = nats.URL
	if s.redis, err = startRedis(ctx, redisServer); err != nil {
		return err
	}
	// It is new: without this the edges would doubt it for their first seconds.
	if err := presence.Settle(ctx, presence.Redis{Addrs: []string{s.redis.addr}}, "a"); err != nil {
		return err
	}
	for i := range edges {
		args := []string{
			"edge", "--node", fmt.Sprint("a", i+1), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats-url", nats.URL,
			"--redis-addr", s.redis.addr, "--anonymous", "--allow-send", "*", "--allow-groups", "*", "--allow-call", "*", "--drain-time", "0s",
			"--message-rate", "0", "--byte-rate", "0", "--max-sessions", "1000000", "--max-anonymous", "100000", "--log-level", "warn",
		}
		args = append(args, more...)
		if profiles {
			args = append(args, "--profiles")
		}
		e, err := startEdgeChild(ctx, args[2], command[0], args)
		if err != nil {
			return err
		}
		s.edges = append(s.edges, e)
	}
	return nil
}

// spent asks Redis and NATS what they have done so far.
func (s *selfSystem) spent(ctx context.Context) (bench.Spent, error) {
	var nats floor.NATS
	if err := s.nats.Call(ctx, struct{}{}, &nats); err != nil {
		return bench.Spent{}, err
	}
	text, err := redisInfo(ctx, s.redis.addr, "stats", "total_commands_processed")
	if err != nil {
		return bench.Spent{}, err
	}
	var commands uint64
	if _, err := fmt.Sscan(text, &commands); err != nil {
		return bench.Spent{}, fmt.Errorf("read what Redis has done: %w", err)
	}
	return bench.Spent{Redis: commands, NATS: nats.Messages}, nil
}

// stop ends the edges, then what they need.
func (s *selfSystem) stop(ctx context.Context) error {
	var errs []error
	for _, e := range slices.Backward(s.edges) {
		select {
		case <-e.ended: // a work may have ended it
		default:
			errs = append(errs, e.stop(ctx))
		}
	}
	if s.redis != nil {
		errs = append(errs, s.redis.stop(ctx))
	}
	if s.nats != nil {
		s.nats.Stop()
	}
	return errors.Join(errs...)
}

// startEdgeChild starts an edge, or what clients connect to as they do to an edge, and waits until it is ready.
func startEdgeChild(ctx context.Context, name, program string, args []string) (*edgeChild, error) {
	e := &edgeChild{name: name, said: &tail{}}
	// Not bound to ctx: it is stopped in its order.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	cmd.SysProcAttr = childAttributes()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	cmd.Stdout, cmd.Stderr = write, e.said
	if e.child, err = startChild(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", e.name, err), read.Close())
	}
	lines := make(chan string, 1)
	go func() { // ends with the edge
		defer read.Close()
		from := bufio.NewReader(read)
		line, _ := from.ReadString('\n')
		lines <- line
		_, _ = io.Copy(io.Discard, from)
	}()
	select {
	case line := <-lines:
		for word := range strings.FieldsSeq(line) {
			switch {
			case strings.HasPrefix(word, "ws"):
				e.url = word
			case strings.HasPrefix(word, "http"):
				e.admin = word
			}
		}
		if e.url != "" {
			return e, nil
		}
		err = errors.New("it ended")
	case <-time.After(edgeStartTime):
		err = fmt.Errorf("it is not ready within %v", edgeStartTime)
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = e.stop(context.WithoutCancel(ctx))
	return nil, fmt.Errorf("start %s: %w: %s", e.name, err, e.said)
}

// tail keeps the beginning of what a process says, which is where the reason of a failure is.
type tail struct {
	b bytes.Buffer
}

const mostSaid = 4 << 10

// Write keeps what there is room for.
func (t *tail) Write(b []byte) (int, error) {
	t.b.Write(b[:min(len(b), max(0, mostSaid-t.b.Len()))])
	return len(b), nil
}

// String returns it. The process has ended.
func (t *tail) String() string { return strings.TrimSpace(t.b.String()) }
