package contracts

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

type framesCase struct {
	Name   string   `json:"name"`
	Max    int      `json:"max"`
	Hex    string   `json:"hex"`
	Frames []string `json:"frames,omitempty"`
	Error  bool     `json:"error,omitempty"`
}

func TestGoldenFrames(t *testing.T) {
	golden(t, "frames.jsonl", func(c framesCase) string { return c.Name }, func(tb testing.TB, c framesCase) framesCase {
		tb.Helper()
		frames, bad := cut(c.Max, mustHex(tb, c.Hex), len(c.Hex))
		c.Frames, c.Error = nil, bad != nil
		for _, f := range frames {
			c.Frames = append(c.Frames, string(f))
		}
		return c
	})
}

type ticketFrameCase struct {
	Name   string           `json:"name"`
	Encode *ticketFrameForm `json:"encode,omitempty"`
	Frame  string           `json:"frame"`
	Read   *ticketFrameForm `json:"read,omitempty"`
	Error  bool             `json:"error,omitempty"`
}

type ticketFrameForm struct {
	Ticket string      `json:"ticket"`
	Passed ClusterName `json:"passed,omitempty"`
}

func TestGoldenTicketFrames(t *testing.T) {
	golden(t, "ticketframes.jsonl", func(c ticketFrameCase) string { return c.Name }, func(tb testing.TB, c ticketFrameCase) ticketFrameCase {
		tb.Helper()
		if c.Encode != nil {
			c.Frame = string(AppendTicketFrame(nil, TicketFrame(*c.Encode)))
		}
		read, bad := DecodeTicketFrame([]byte(c.Frame))
		c.Read, c.Error = nil, bad != nil
		if bad == nil {
			form := ticketFrameForm(read)
			c.Read = &form
		}
		return c
	})
}

// cut gives a cutter the stream in pieces of a size, and returns the frames.
func cut(max int, stream []byte, piece int) (frames [][]byte, bad *Error) {
	c := FrameCutter{Max: max}
	for len(stream) > 0 && bad == nil {
		n := min(piece, len(stream))
		bad = c.Cut(bytes.Clone(stream[:n]), func(f []byte) { frames = append(frames, f) })
		stream = stream[n:]
	}
	return frames, bad
}

func TestFramesAreFoundHoweverTheStreamIsCut(t *testing.T) {
	t.Parallel()
	want := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("x"), 100), {}, []byte("last")}
	var stream []byte
	for _, f := range want {
		stream = AppendFrame(stream, f)
	}
	for piece := 1; piece <= len(stream); piece++ {
		got, bad := cut(100, stream, piece)
		if bad != nil || len(got) != len(want) {
			t.Fatalf("pieces of %d: %d frames, %v", piece, len(got), bad)
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("pieces of %d: frame %d is %q", piece, i, got[i])
			}
		}
	}
}

func TestLengthOverTheBoundIsAClearError(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"one more": "\x00\x00\x00\x65", "the sign bit": "\x80\x00\x00\x00", "minus one": "\xff\xff\xff\xff", "HTTP": "GET ", "TLS": "\x16\x03\x01\x00",
	} {
		frames, bad := cut(100, []byte(string(AppendFrame(nil, []byte("{}")))+head+"more"), 5)
		if bad == nil || bad.Code != CodeTooLarge || !strings.Contains(bad.Message, "at most 100") || len(frames) != 1 {
			t.Errorf("%s: %d frames, %v", name, len(frames), bad)
		}
	}
}

func TestMemoryForAFrameIsTakenAsItsBytesCome(t *testing.T) {
	t.Parallel()
	const size = 100_000
	c := FrameCutter{Max: size}
	got := 0
	take := func(f []byte) {
		if got = len(f); cap(f) > size {
			t.Errorf("the frame takes %d bytes", cap(f))
		}
	}
	c.Cut(binary.BigEndian.AppendUint32(nil, size), take)
	if cap(c.body) != 0 {
		t.Errorf("a length alone takes %d bytes", cap(c.body))
	}
	for came := 1; came <= size; came++ {
		c.Cut([]byte{'x'}, take)
		if cap(c.body) > 2*came {
			t.Fatalf("%d bytes that came take %d", came, cap(c.body))
		}
	}
	if got != size || c.body != nil {
		t.Errorf("a frame of %d bytes, and %d are kept", got, cap(c.body))
	}
}

func TestTicketFrames(t *testing.T) {
	t.Parallel()
	for _, want := range []TicketFrame{{Ticket: "c=a&k=room-1&n=al@ice:x&e=1&s=a.b"}, {Ticket: strings.Repeat("t", MaxTicketQuery), Passed: "b"}} {
		frame := AppendTicketFrame(nil, want)
		for _, end := range []string{"", "\n", " \r\n"} {
			if got, bad := DecodeTicketFrame([]byte(string(frame) + end)); bad != nil || got != want {
				t.Errorf("%s: %+v, %v", frame, got, bad)
			}
		}
	}
	for _, frame := range []string{
		"", "{}", "null", `"c=a"`, `{"ticket":1}`, `{"ticket":"a","ticket":"b"}`, `{"ticket":"a","x":1}`, `{"ticket":"\u0061"}`, `{"ticket":"a"}{}`,
		`{"ticket":"a"}` + "\n" + `{"auth":{"token":"t"}}`, `{"passed":"b"}`, `{"ticket":"a","passed":"B"}`, `{"ticket":"a","passed":1}`,
		`{"auth":{"token":"t"}}`, `{"ticket":"` + strings.Repeat("t", MaxTicketFrame) + `"}`,
	} {
		if got, bad := DecodeTicketFrame([]byte(frame)); bad == nil || bad.Code != CodeBadRequest || got != (TicketFrame{}) {
			t.Errorf("%s: %+v, %v", frame, got, bad)
		}
	}
}

// FuzzFrameCutter holds that no stream makes the cutter panic or read wrong, however it is cut.
func FuzzFrameCutter(f *testing.F) {
	for _, c := range readCases[framesCase](f, "frames.jsonl") {
		f.Add(mustHex(f, c.Hex), 2)
	}
	f.Add(AppendFrame(AppendFrame(nil, []byte("{}")), nil), 3)
	f.Add([]byte("\xff\xff\xff\xff"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		const most = 1 << 10
		frames, bad := cut(most, stream, max(1, piece))
		rest := stream
		for i, frame := range frames {
			size := binary.BigEndian.Uint32(rest)
			if int(size) != len(frame) || size > most || !bytes.Equal(rest[FrameHeader:FrameHeader+size], frame) {
				t.Fatalf("frame %d of %q is %q", i, stream, frame)
			}
			rest = rest[FrameHeader+size:]
		}
		if len(rest) < FrameHeader {
			return // nothing more can be read
		}
		if size := binary.BigEndian.Uint32(rest); (size > most) != (bad != nil) || bad == nil && int(size) <= len(rest)-FrameHeader {
			t.Fatalf("%q: %v, and %q is left", stream, bad, rest)
		}
	})
}

// FuzzTicketFrame holds that nothing makes the decoder panic, and that what it accepts comes back as it was.
func FuzzTicketFrame(f *testing.F) {
	for _, c := range readCases[ticketFrameCase](f, "ticketframes.jsonl") {
		f.Add([]byte(c.Frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		got, bad := DecodeTicketFrame(frame)
		if bad != nil {
			return
		}
		if again, bad := DecodeTicketFrame(AppendTicketFrame(nil, got)); bad != nil || again != got {
			t.Fatalf("%q: %+v, then %+v, %v", frame, got, again, bad)
		}
	})
}
