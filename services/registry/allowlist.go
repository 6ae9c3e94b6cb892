package registry

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// AllowList is a file with the clients that may connect: one id a line; empty lines and those that begin with # are passed
// over. It is read again when its size or time has changed, once they have stayed for [AllowListPoll]: half a list, of which
// the rest is still being written, would shut clients out.
type AllowList struct {
	path    string
	clients atomic.Pointer[map[contracts.ClientID]struct{}]

	// Owned by follow, once it runs.
	read stamp // of what was read
	seen stamp // when it was looked at last
}

// stamp tells one state of a file from another.
type stamp struct {
	size int64
	time time.Time
}

const (
	// AllowListPoll is how often the file is looked at.
	AllowListPoll = time.Second

	maxAllowList = 256 << 20 // bytes
)

// OpenAllowList reads the list. Its error wraps [ErrConfig].
func OpenAllowList(path string) (*AllowList, error) {
	l := &AllowList{path: path}
	if _, err := l.load(); err != nil {
		return nil, fmt.Errorf("%w: allow-list: %w", ErrConfig, err)
	}
	return l, nil
}

// Has tells whether a client is on the list.
func (l *AllowList) Has(c contracts.ClientID) bool {
	_, there := (*l.clients.Load())[c]
	return there
}

// Len is how many are on it.
func (l *AllowList) Len() int { return len(*l.clients.Load()) }

// follow reads the list again when it changes, until ctx ends. One that cannot be read, or has a line that is no client id,
// changes nothing: half a list would shut clients out.
func (l *AllowList) follow(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(AllowListPoll)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := l.load()
		switch {
		case err != nil && !failing:
			log.ErrorContext(ctx, "registry: the allow-list cannot be read; that from before holds", slog.Any("error", err))
		case err == nil && (changed || failing):
			log.InfoContext(ctx, "registry: the allow-list was read again", slog.Int("clients", l.Len()))
		}
		failing = err != nil
	}
}

// load reads the file if it has changed.
func (l *AllowList) load() (changed bool, err error) {
	f, err := os.Open(l.path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	now, err := stampOf(f)
	if err != nil {
		return false, err
	}
	settled := l.clients.Load() == nil || now == l.seen
	l.seen = now
	if !settled || now == l.read {
		return false, nil
	}
	if now.size > maxAllowList {
		return false, fmt.Errorf("%s has more than %d bytes", l.path, maxAllowList)
	}
	clients := map[contracts.ClientID]struct{}{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		client, err := contracts.ParseClientID(text)
		if err != nil {
			return false, fmt.Errorf("%s: line %d: %w", l.path, n, err)
		}
		clients[client] = struct{}{}
	}
	if err := lines.Err(); err != nil {
		return false, fmt.Errorf("%s: %w", l.path, err)
	}
	if after, err := stampOf(f); err != nil || after != now {
		return false, err // it changed meanwhile: the next look will see
	}
	l.read = now
	l.clients.Store(&clients)
	return true, nil
}

func stampOf(f *os.File) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.Size(), info.ModTime().Round(0)}, nil
}
