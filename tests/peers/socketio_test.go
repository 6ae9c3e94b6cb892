package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/tools/bench"
)

// replay is a connection that was recorded: what the server said, and what the client has to say before it.
type replay struct {
	t     *testing.T
	lines []string // "< " from the server, "> " to it
}

func (r *replay) Read() ([]byte, error) {
	if len(r.lines) == 0 {
		return nil, io.EOF
	}
	line, ok := strings.CutPrefix(r.lines[0], "< ")
	if !ok {
		r.t.Fatalf("%q was to be written before", r.lines[0])
	}
	r.lines = r.lines[1:]
	return []byte(line), nil
}

func (r *replay) Write(message []byte) error {
	if len(r.lines) == 0 || r.lines[0] != "> "+string(message) {
		r.t.Fatalf("%q is written, where %q was to come", message, r.lines)
	}
	r.lines = r.lines[1:]
	return nil
}

func (*replay) Bye() error { return nil }
func (*replay) Cut() error { return nil }

// heard is what a driver has handed over.
type heard []string

func (h *heard) Message(data []byte) { *h = append(*h, "message "+string(data)) }

func (h *heard) Answer(id uint64, outcome string) {
	*h = append(*h, fmt.Sprintf("answer %d %s", id, outcome))
}

func TestSocketIODriverSpeaksAsWasRecorded(t *testing.T) {
	t.Parallel()
	for _, way := range []way{receipt, ack, posted} {
		toBob, toRoom := bench.Request{ID: 7, To: "bob", Data: []byte(`"hi"`)}, bench.Request{ID: 8, Group: "room", Data: []byte(`"all"`)}
		requests, answers := []bench.Request{toBob, toRoom}, heard{"answer 7 delivered", "answer 8 sent"}
		if way == ack {
			requests = append(requests, bench.Request{ID: 9, To: "nobody", Data: []byte(`"hi"`)})
			answers = append(answers, "answer 9 offline")
		}
		for name, one := range map[string]struct {
			login bench.Login
			send  []bench.Request
			hears heard
		}{
			"sender":    {bench.Login{Client: "alice"}, requests, answers},
			"recipient": {bench.Login{Client: "bob", Group: "room"}, nil, heard{`message "all"`, `message "hi"`}},
		} {
			t.Run(string(way)+" "+name, func(t *testing.T) {
				t.Parallel()
				text, err := os.ReadFile(filepath.Join("testdata", "socketio", string(way)+"-"+name+".txt"))
				if err != nil {
					t.Fatal(err)
				}
				r := &replay{t: t, lines: strings.Split(strings.TrimSpace(string(text)), "\n")}
				c := &socketioConn{ws: r, driver: socketioDriver{send: way}}
				if err := c.connect(one.login); err != nil {
					t.Fatal(err)
				}
				if err := c.Send(one.send...); err != nil {
					t.Fatal(err)
				}
				var h heard
				for err == nil {
					err = c.Read(&h)
				}
				if slices.Sort(h); err != io.EOF || !slices.Equal(h, one.hears) { //nolint:errorlint // it is what the replay returns
					t.Errorf("%v: %q", err, h)
				}
			})
		}
	}
}

func TestSocketIODriverRefusesWhatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	for _, frame := range []string{
		"", "1", "41", `44{"message":"no"}`, "42", `42["msg"]`, `42["msg","alice"]`, `42["msg","alice",]`, `42["msg","alice","hi"`,
		`42["msg","alice","hi",`, `42["msg","alice",7]`, `42["got",]`, `42["got",x]`, `42["got",7`, "43", "43[]", `437["delivered"`, `43["delivered"]`, "451-[]",
	} {
		c := &socketioConn{ws: &replay{t: t, lines: []string{"< " + frame}}}
		if err := c.Read(&heard{}); err == nil || !strings.Contains(err.Error(), "the server says") {
			t.Errorf("%q: %v", frame, err)
		}
	}
}

// FuzzSocketIOFrame checks that no frame ends the driver.
func FuzzSocketIOFrame(f *testing.F) {
	files, err := filepath.Glob("testdata/socketio/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			f.Add(bytes.TrimSpace(line[2:]))
		}
	}
	f.Fuzz(func(_ *testing.T, frame []byte) {
		_ = (&socketioConn{ws: oneFrame(frame)}).Read(&heard{})
	})
}

// oneFrame is a connection whose server says one thing.
type oneFrame []byte

func (s oneFrame) Read() ([]byte, error) { return s, nil }
func (oneFrame) Write([]byte) error      { return nil }
func (oneFrame) Bye() error              { return nil }
func (oneFrame) Cut() error              { return nil }

func TestMissingNodeIsSaidWithWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := prepareSocketio(t.Context()); err == nil || !strings.Contains(err.Error(), "install Node.js") {
		t.Error(err)
	}
	if _, _, err := startRedis(t.Context()); err == nil || !strings.Contains(err.Error(), "install Redis") {
		t.Error(err)
	}
}
