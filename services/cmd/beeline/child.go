package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// childStopTime is how long a child has to end by itself.
const childStopTime = 2 * time.Second

// child is a process that ends with this one.
type child struct {
	pid    int
	signal func(os.Signal) error
	ended  chan struct{} // closed when it has ended
	err    error         // what it ended with; set before ended is closed
}

// startChild starts a command and waits for its end in a goroutine of its own. That goroutine keeps its thread, because
// on Linux a child is told to end when the thread that started it does.
func startChild(cmd *exec.Cmd) (*child, error) {
	c := &child{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			c.pid, c.signal = cmd.Process.Pid, cmd.Process.Signal
		}
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.ended)
		}
	}()
	return c, <-started
}

// stop ends the child by its process id: politely, and after a while not.
func (c *child) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, childStopTime)
	defer cancel()
	_ = c.signal(syscall.SIGTERM)
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
	}
	_ = c.signal(os.Kill)
	<-c.ended
	return fmt.Errorf("process %d had to be killed", c.pid)
}
