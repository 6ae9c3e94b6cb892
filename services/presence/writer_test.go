package presence

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// silent is a Redis that accepts connections and never says a word.
func silent(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() { // ends when the client closes
		buf := make([]byte, 4096)
		for {
			if _, err := server.Read(buf); err != nil {
				return
			}
		}
	}()
	return client, nil
}

func newSilentWriter(t *testing.T) (*writer, redis.UniversalClient) {
	t.Helper()
	client := Redis{Addrs: []string{"127.0.0.1:1"}, Dialer: silent, Timeout: time.Second}.open(nil)
	t.Cleanup(func() { _ = client.Close() })
	return newWriter(client, 2*time.Second), client
}

func TestAWriteThatIsGivenUpIsNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := newSilentWriter(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.do(ctx, redis.NewIntCmd(ctx, "hdel", "k", "f")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if batch := w.take(); len(batch) != 0 {
			t.Errorf("%d writes would be sent", len(batch))
		}
	})
}

func TestTooManyWritesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWriter(nil, time.Second)
	w.queue = make([]*write, writerQueue)
	if err := w.do(t.Context(), redis.NewIntCmd(t.Context(), "hdel", "k", "f")); !errors.Is(err, errBusy) {
		t.Errorf("%v", err)
	}
}

func TestWritesThatWaitWhenTheWriterEndsAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := newSilentWriter(t)
		ctx, cancel := context.WithCancel(t.Context())
		var loop, calls sync.WaitGroup
		loop.Go(func() { w.loop(ctx) })
		for i := range 2 * writerBatch {
			calls.Go(func() {
				if err := w.do(t.Context(), redis.NewIntCmd(t.Context(), "hdel", "k", "f")); err == nil {
					t.Errorf("write %d succeeded without a Redis", i)
				}
			})
		}
		synctest.Wait() // one batch is under way, the rest waits
		start := time.Now()
		cancel()
		loop.Wait()
		calls.Wait()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("the writer took %v to end", took)
		}
		if err := w.do(t.Context(), redis.NewIntCmd(t.Context(), "hdel", "k", "f")); !errors.Is(err, ErrClosed) {
			t.Errorf("a write after the end: %v", err)
		}
	})
}
