package embedded

import (
	"fmt"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// lastError is a logger that keeps the first fatal error and nothing else: with a log that is off, the server would fail
// to start without a word.
type lastError struct {
	mu    sync.Mutex
	fatal error // guarded by mu
}

func (l *lastError) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// Fatalf keeps what ended the start. The real one would end the process.
func (l *lastError) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf(format, v...)
	}
}

// Errorf, and the rest, log nothing.
func (l *lastError) Errorf(string, ...any)  {}
func (l *lastError) Warnf(string, ...any)   {}
func (l *lastError) Noticef(string, ...any) {}
func (l *lastError) Debugf(string, ...any)  {}
func (l *lastError) Tracef(string, ...any)  {}

var _ server.Logger = (*lastError)(nil)
