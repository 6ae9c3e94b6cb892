package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/registryserver"
)

// process is what a command may use of the process that it runs in.
type process struct {
	program  string // how it was called: what a person can paste
	getenv   func(string) string
	stdin    io.Reader
	stdout   io.Writer // safe for concurrent use, as is stderr
	stderr   io.Writer
	terminal bool // stderr is read by a person
	now      func() time.Time
	start    func(context.Context, node.Config) (runningNode, error)

	startRegistry func(context.Context, registryserver.Config) (runningNode, error)
	startGateway  func(context.Context, gatewayserver.Config) (runningNode, error)
}

// runningNode is what a command asks of a node, a registry or a gateway.
type runningNode interface {
	URL() string
	AdminURL() string
	Done() <-chan struct{}
	Err() error
	Stop(context.Context) error
}

var (
	_ runningNode = (*node.Node)(nil)
	_ runningNode = (*registryserver.Server)(nil)
	_ runningNode = (*gatewayserver.Server)(nil)
)

// startNode is [node.Start]; it returns no node that is nil in an interface that is not.
func startNode(ctx context.Context, cfg node.Config) (runningNode, error) {
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// startRegistry is [registryserver.Start], as startNode is that of a node.
func startRegistry(ctx context.Context, cfg registryserver.Config) (runningNode, error) {
	s, err := registryserver.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// startGateway is [gatewayserver.Start], likewise.
func startGateway(ctx context.Context, cfg gatewayserver.Config) (runningNode, error) {
	s, err := gatewayserver.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// patience is how long a person is left without a word.
const patience = 2 * time.Second

// waiting says what is being waited for, if it takes longer than a person has patience. The caller calls done when the
// wait is over.
func (p *process) waiting(what string) (done func()) {
	if !p.terminal {
		return func() {}
	}
	t := time.AfterFunc(patience, func() { fmt.Fprintf(p.stderr, "%s …\n", what) })
	return func() { t.Stop() }
}

// isTerminal reports whether what is written to w is read by a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// lockedWriter lets goroutines share a writer, one call at a time.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

// Write writes to the underlying writer.
func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
