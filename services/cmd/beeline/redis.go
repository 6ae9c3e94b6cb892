package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// devRedis is a Redis for `beeline dev`: a redis-server that is a child of this process, or one inside it.
type devRedis struct {
	addr string
	what string // which it is, for a person
	pid  int    // 0: it is inside this process
	stop func(context.Context) error
}

// Kinds of Redis for dev.
const (
	redisAuto     = "auto" // a server if there is one on PATH
	redisServer   = "server"
	redisEmbedded = "embedded"
)

const (
	redisStartTime = 5 * time.Second
	redisTries     = 3 // a free port can be gone before the server takes it
)

// startRedis starts a Redis of the given kind.
func startRedis(ctx context.Context, kind string) (*devRedis, error) {
	if kind == redisEmbedded {
		return startEmbeddedRedis("as asked")
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if kind == redisServer {
			return nil, errors.New("there is no redis-server on PATH: install Redis, or use --redis embedded")
		}
		return startEmbeddedRedis("no redis-server on PATH")
	}
	for range redisTries {
		var r *devRedis
		if r, err = startRedisServer(ctx, path); err == nil {
			return r, nil
		}
	}
	if kind == redisAuto && ctx.Err() == nil {
		return startEmbeddedRedis("redis-server does not start: " + err.Error())
	}
	return nil, fmt.Errorf("start redis-server: %w", err)
}

// startEmbeddedRedis starts one inside this process. Its keys expire only when told that time has passed.
func startEmbeddedRedis(why string) (*devRedis, error) {
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				m.FastForward(time.Second)
			case <-quit:
				return
			}
		}
	}()
	stop := func(context.Context) error {
		close(quit)
		<-done
		m.Close()
		return nil
	}
	return &devRedis{addr: m.Addr(), what: "embedded: " + why, stop: stop}, nil
}

// startRedisServer starts a redis-server on a free port of 127.0.0.1 that stores nothing.
func startRedisServer(ctx context.Context, path string) (*devRedis, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(localhost, strconv.Itoa(port))
	// Not bound to ctx: the end of a start, or Ctrl-C, is not the end of Redis, which others still need.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, "--bind", localhost, "--port", strconv.Itoa(port), //nolint:gosec // path is what LookPath found
		"--save", "", "--appendonly", "no", "--dir", os.TempDir(), "--daemonize", "no", "--loglevel", "warning")
	cmd.SysProcAttr = childAttributes()
	c, err := startChild(cmd)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, redisStartTime)
	defer cancel()
	version, err := waitForRedis(ctx, addr, c.ended)
	if err != nil {
		return nil, errors.Join(err, c.stop(context.WithoutCancel(ctx)))
	}
	return &devRedis{
		addr: addr,
		what: fmt.Sprintf("redis-server %s, process %d, stores nothing", version, c.pid),
		pid:  c.pid,
		stop: c.stop,
	}, nil
}

// waitForRedis asks until the server answers, and returns its version.
func waitForRedis(ctx context.Context, addr string, ended <-chan struct{}) (string, error) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		version, err := redisVersion(ctx, addr)
		if err == nil {
			return version, nil
		}
		select {
		case <-ended:
			return "", errors.New("it ended at once")
		case <-ctx.Done():
			return "", fmt.Errorf("it does not answer: %w", err)
		case <-ticker.C:
		}
	}
}

// redisVersion asks a server for its version, which only one that is ready tells.
func redisVersion(ctx context.Context, addr string) (string, error) {
	return redisInfo(ctx, addr, "server", "redis_version")
}

// redisInfo returns what a server says of itself under a name, in a section of its INFO.
func redisInfo(ctx context.Context, addr, section, name string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := conn.Write([]byte("INFO " + section + "\r\nQUIT\r\n")); err != nil {
		return "", err
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", errors.New("it is not ready")
}
