package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// redisOf starts a Redis that ends with the test.
func redisOf(t *testing.T, kind string) *devRedis {
	t.Helper()
	r, err := startRedis(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return r
}

// use sets and gets a key.
func use(t *testing.T, r *devRedis) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.addr})
	defer c.Close()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if v, err := c.Get(t.Context(), "k").Result(); err != nil || v != "v" {
		t.Fatalf("%q, %v", v, err)
	}
}

func TestRedisServerIsAChild(t *testing.T) {
	t.Parallel()
	r := redisOf(t, redisServer)
	if !strings.HasPrefix(r.what, "redis-server ") || !strings.Contains(r.what, "process") {
		t.Errorf("it says %q", r.what)
	}
	use(t, r)
}

func TestEmbeddedRedis(t *testing.T) {
	t.Parallel()
	r := redisOf(t, redisEmbedded)
	if !strings.HasPrefix(r.what, "embedded") {
		t.Errorf("it says %q", r.what)
	}
	use(t, r)
}

func TestNoRedisServerOnPath(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := redisOf(t, redisAuto)
	if r.what != "embedded: no redis-server on PATH" {
		t.Errorf("it says %q", r.what)
	}
	if _, err := startRedis(t.Context(), redisServer); err == nil || !strings.Contains(err.Error(), "--redis embedded") {
		t.Errorf("got %v", err)
	}
}

func TestRedisServerThatDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "redis-server"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	r := redisOf(t, redisAuto)
	if !strings.Contains(r.what, "redis-server does not start: it ended at once") {
		t.Errorf("it says %q", r.what)
	}
}

func TestStubbornChildIsKilled(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `trap "" TERM; echo; read _`)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	deaf := newTranscript()
	cmd.Stdout = deaf
	c, err := startChild(cmd)
	if err != nil {
		t.Fatal(err)
	}
	deaf.wait(t, "\n") // from now on it does not hear SIGTERM
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.stop(ctx); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
}
