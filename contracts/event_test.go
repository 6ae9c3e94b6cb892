package contracts

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestAnOlderClientPassesOverWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	e, err := DecodeEvent([]byte(`{"presence":{"client":"bob"},"id":4,"ok":{"status":"stored","seq":7}}`))
	if err != nil || e.OK == nil || *e.ID != 4 || e.OK.Status != "stored" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestAnswersAllocateNothing(t *testing.T) {
	buf := make([]byte, 0, 128)
	for name, answer := range map[string]func(){
		"ok":   func() { buf = AppendOK(buf[:0], MaxRequestID, Delivered) },
		"sent": func() { buf = AppendSent(buf[:0], MaxRequestID, 1000) },
		"done": func() { buf = AppendDone(buf[:0], MaxRequestID) },
	} {
		if n := testing.AllocsPerRun(100, answer); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestAnswersAreAppended(t *testing.T) {
	t.Parallel()
	b := AppendSent(AppendDone([]byte("x\n"), 1), 2, 0)
	if want := "x\n{\"id\":1,\"ok\":{}}\n{\"id\":2,\"ok\":{\"status\":\"sent\",\"nodes\":0}}\n"; string(b) != want {
		t.Errorf("%q", b)
	}
}

func TestWhoIsOnlineIsAppended(t *testing.T) {
	t.Parallel()
	b := AppendPresence(AppendOnline(AppendOnline([]byte("x\n"), 1, nil), 2, []ClientID{"bob", "eve"}), "bob", false)
	want := "x\n{\"id\":1,\"ok\":{\"online\":[]}}\n{\"id\":2,\"ok\":{\"online\":[\"bob\",\"eve\"]}}\n" +
		"{\"presence\":{\"client\":\"bob\",\"online\":false}}\n"
	if string(b) != want {
		t.Errorf("%q", b)
	}
}

func TestAMessageToAGroupIsMadeInOnePiece(t *testing.T) {
	data := []byte(`{"text":"hi"}`)
	var frame []byte
	if n := testing.AllocsPerRun(100, func() { frame = EncodeGroupMsg("alice", "g1", data) }); n != 1 {
		t.Errorf("%v allocations", n)
	}
	if len(frame) != cap(frame) && cap(frame) > len(frame)+16 { // but for the allocator's size class
		t.Errorf("%d bytes in %d", len(frame), cap(frame))
	}
	if want := `{"msg":{"from":"alice","group":"g1","data":{"text":"hi"}}}` + "\n"; string(frame) != want {
		t.Errorf("%q", frame)
	}
}

// FuzzDecodeEvent holds what a client reads: nothing makes the decoder panic, and what it accepts stays the same when it
// is written and read again.
func FuzzDecodeEvent(f *testing.F) {
	for _, c := range readCases[eventCase](f, "events.jsonl") {
		f.Add([]byte(c.Line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := DecodeEvent(line)
		if err != nil {
			return
		}
		if !json.Valid(line) {
			t.Fatalf("accepted, but not JSON: %q", line)
		}
		first, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", e, err)
		}
		e, err = DecodeEvent(first)
		if err != nil {
			t.Fatalf("%s cannot be read: %v", first, err)
		}
		second, err := json.Marshal(e)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s became %s: %v", first, second, err)
		}
	})
}

func BenchmarkEncodeMsg(b *testing.B) {
	req, _ := DecodeRequest(send128)
	b.ReportAllocs()
	for b.Loop() {
		EncodeMsg("user-000041", req.Send.Data)
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	for name, line := range map[string][]byte{
		"ok":  AppendOK(nil, 123456, Delivered),
		"msg": EncodeMsg("user-000041", []byte(`{"text":"`+string(bytes.Repeat([]byte("x"), 73))+`"}`)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeEvent(line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
