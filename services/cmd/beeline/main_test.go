package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/services/node"
)

// asProgram is set in the environment of a test binary that is to be the program.
const asProgram = "BEELINE_TEST_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// limit is how long a test waits for something that should happen at once.
const limit = 20 * time.Second

// result is what a command did.
type result struct {
	code           int
	stdout, stderr string
}

// call runs a command to its end, with an environment of `NAME=value`.
func call(t *testing.T, stdin string, environment []string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append([]string{"beeline"}, args...), lookup(environment), strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// lookup makes a getenv of `NAME=value`.
func lookup(environment []string) func(string) string {
	return func(name string) string {
		for _, line := range environment {
			if value, ok := strings.CutPrefix(line, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// refused checks that a call was refused as wrong usage, in one line with these words.
func (r result) refused(t *testing.T, words ...string) {
	t.Helper()
	if r.code != exitUsage {
		t.Errorf("exit code %d, want %d", r.code, exitUsage)
	}
	if r.stdout != "" {
		t.Errorf("stdout has %q", r.stdout)
	}
	oneLine(t, r.stderr)
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("stderr does not have %q: %s", word, r.stderr)
		}
	}
}

// oneLine checks that text is one sentence on one line.
func oneLine(t *testing.T, text string) {
	t.Helper()
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		t.Errorf("not one line: %q", text)
	}
}

// transcript is a writer whose lines a test can wait for.
type transcript struct {
	mu    sync.Mutex
	text  string        // guarded by mu
	wrote chan struct{} // closed and replaced at each write; guarded by mu
}

func newTranscript() *transcript { return &transcript{wrote: make(chan struct{})} }

// Write keeps b.
func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += string(b)
	close(s.wrote)
	s.wrote = make(chan struct{})
	return len(b), nil
}

// String returns all that was written.
func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// wait returns what was written, once it has these words.
func (s *transcript) wait(t *testing.T, words string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		s.mu.Lock()
		text, wrote := s.text, s.wrote
		s.mu.Unlock()
		if strings.Contains(text, words) {
			return text
		}
		select {
		case <-wrote:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %q in %q", words, text)
		}
	}
}

// background is a command that runs beside the test.
type background struct {
	stdout, stderr *transcript
	stdin          *io.PipeWriter
	stop           context.CancelFunc // as Ctrl-C does
	ended          chan struct{}
	code           int // set before ended is closed
}

// begin starts a command, which ends with the test at the latest. A nil start is the real one.
func begin(t *testing.T, start func(context.Context, node.Config) (runningNode, error), args ...string) *background {
	t.Helper()
	return beginWith(t, func(p *process) {
		if start != nil {
			p.start = start
		}
	}, args...)
}

// beginWith is begin with a process that was changed.
func beginWith(t *testing.T, change func(*process), args ...string) *background {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stdin, writer := io.Pipe()
	b := &background{stdout: newTranscript(), stderr: newTranscript(), stdin: writer, stop: stop, ended: make(chan struct{})}
	p := &process{
		program: "beeline",
		getenv:  lookup(nil), stdin: stdin, stdout: b.stdout, stderr: b.stderr, now: time.Now,
		start: startNode, startRegistry: startRegistry, startGateway: startGateway,
	}
	change(p)
	go func() {
		defer close(b.ended)
		b.code = p.run(ctx, args, b.stdout)
	}()
	t.Cleanup(func() {
		stop()
		writer.Close()
		<-b.ended
		if t.Failed() {
			t.Logf("%q said:\n%s%s", args, b.stdout, b.stderr)
		}
	})
	return b
}

// exit returns the exit code, once the command has ended.
func (b *background) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-b.ended:
	case <-time.After(limit):
		t.Fatal("the command does not end")
	}
	return b.code
}
