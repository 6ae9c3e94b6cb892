package presencetest

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/services/presence"
)

// Redis is a real redis-server without persistence, on a port of its own of 127.0.0.1. It is for one goroutine.
type Redis struct{ process *process }

// StartRedis starts a Redis that ends with the test. args are further arguments of redis-server.
func StartRedis(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	return &Redis{startProcess(tb, func(dir string, port int) []string { return plain(dir, port, args...) })}
}

// Addr returns its address, as host:port.
func (r *Redis) Addr() string { return r.process.address() }

// Config returns how a directory reaches it.
func (r *Redis) Config() presence.Redis { return presence.Redis{Addrs: []string{r.Addr()}} }

// Client returns a client of the test's own, which is closed with the test.
func (r *Redis) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr(), Protocol: 2, DisableIdentity: true})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// Kill ends the server without a word. What it held is lost.
func (r *Redis) Kill() { r.process.kill() }

// Restart starts a killed server again, empty, at the same address.
func (r *Redis) Restart(tb testing.TB) {
	tb.Helper()
	r.process.kill()
	if !r.process.start(tb) {
		tb.Fatalf("redis-server did not start again: %s", r.process.output)
	}
}

// Pause stops the process where it is: connections stay open, and nothing answers. What it holds is kept.
func (r *Redis) Pause(tb testing.TB) { tb.Helper(); r.process.pause(tb) }

// Resume lets a paused server go on.
func (r *Redis) Resume(tb testing.TB) { tb.Helper(); r.process.resume(tb) }
