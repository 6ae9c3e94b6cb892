package contracts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The golden files hold most of what DecodeRequest promises, line by line; here is what does not fit into a line of theirs.

func sendLine(to, data string) []byte {
	return fmt.Appendf(nil, `{"id":1,"send":{"to":%s,"data":%s}}`, to, data)
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// nestedObjects is n objects within each other, with white space.
func nestedObjects(depth int) string {
	return strings.Repeat("{ \"a\" : ", depth-1) + "{}" + strings.Repeat(" }", depth-1)
}

func TestDataMayNestAsDeepAsMaxDepthAndNoDeeper(t *testing.T) {
	t.Parallel()
	for _, nest := range []func(int) string{nested, nestedObjects} {
		for depth, want := range map[int]bool{1: true, MaxDepth - 1: true, MaxDepth: true, MaxDepth + 1: false, 100_000: false} {
			if got := ValidData([]byte(nest(depth))); got != want {
				t.Errorf("ValidData of %d levels: %v", depth, got)
			}
			_, err := DecodeRequest(sendLine(`"bob"`, nest(depth)))
			if got := err == nil; got != want {
				t.Errorf("DecodeRequest with data of %d levels: %v", depth, err)
			}
		}
	}
}

func TestFromIsTheServersToSet(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		`{"id":1,"send":{"to":"bob","data":1,"from":"eve"}}`,
		`{"id":1,"send":{"from":"eve","to":"bob","data":1}}`,
		`{"id":1,"publish":{"group":"g1","data":1,"from":"eve"}}`,
		`{"id":1,"join":{"group":"g1","from":"eve"}}`,
		`{"id":1,"watch":{"clients":["bob"],"from":"eve"}}`,
	} {
		_, err := DecodeRequest([]byte(line))
		if err == nil || err.Code != CodeBadRequest || !strings.Contains(err.Message, "from") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestIDsThatCouldReachBeyondThemselvesAreRefused(t *testing.T) {
	t.Parallel()
	bad := map[string]string{
		"empty": "", "wildcard": "*", "rest": ">", "space": "a b", "tab": "a\tb", "NUL": "a\x00", "CRLF": "a\r\nPUB x 0",
		"10 KB": strings.Repeat("a", 10<<10), "one too long": strings.Repeat("a", MaxIDLength+1), "homoglyph": "bоb",
		"right-to-left override": "a\u202eb", "not UTF-8": "a\xff", "hash tag": "{a}", "slash": "a/b", "escape": "a\x1b[0m",
	}
	for name, id := range bad {
		_, err := ParseClientID(id)
		if !errors.Is(err, ErrInvalidID) {
			t.Errorf("%s: %v", name, err)
		} else if len(id) > 2 && strings.Contains(err.Error(), id) {
			t.Errorf("%s: the error repeats the id", name)
		}
		if _, err := DecodeRequest(sendLine(string(mustJSON(t, id)), "1")); err == nil || err.Code != CodeBadRequest {
			t.Errorf("%s: as recipient: %v", name, err)
		}
		if _, err := DecodeRequest(fmt.Appendf(nil, `{"id":1,"join":{"group":%s}}`, mustJSON(t, id))); err == nil || err.Code != CodeBadRequest {
			t.Errorf("%s: as group: %v", name, err)
		}
		if _, err := DecodeRequest(fmt.Appendf(nil, `{"id":1,"watch":{"clients":["bob",%s]}}`, mustJSON(t, id))); err == nil || err.Code != CodeBadRequest {
			t.Errorf("%s: as watched: %v", name, err)
		}
	}
	if _, err := ParseClientID(strings.Repeat("a", MaxIDLength)); err != nil {
		t.Errorf("longest id: %v", err)
	}
}

func TestTokenMayBeAsLongAsMaxTokenLength(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("t", MaxTokenLength)
	req, err := DecodeRequest(AppendAuth(nil, Auth{Token: longest}))
	if err != nil || req.Auth.Token != longest {
		t.Errorf("longest token: %v", err)
	}
	if _, err := DecodeRequest(AppendAuth(nil, Auth{Token: longest + "t"})); err == nil || err.Code != CodeTooLarge {
		t.Errorf("one byte longer: %v", err)
	}
}

func TestErrorsNeverRepeatWhatTheClientSent(t *testing.T) {
	t.Parallel()
	const canary = "CANARY"
	for _, line := range []string{
		canary, `{"CANARY":1}`, `{"id":"CANARY","ping":{}}`, `{"id":1,"send":{"to":"CANARY ","data":1}}`, `{"id":1,"send":{"CANARY":1}}`,
		`{"id":1,"send":{"to":"bob","data":CANARY}}`, `{"auth":{"token":["CANARY"]}}`, `{"auth":{"client":"CANARY/"}}`,
		`{"id":1,"join":{"group":"CANARY/"}}`, `{"id":1,"publish":{"CANARY":1}}`,
		`{"id":1,"watch":{"clients":["CANARY/"]}}`, `{"id":1,"unwatch":{"CANARY":1}}`,
	} {
		_, err := DecodeRequest([]byte(line))
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestRequestsAreViewsOfTheFrame(t *testing.T) {
	line := sendLine(`"bob"`, `{"text":"hi"}`)
	req, err := DecodeRequest(line)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(line, req.Send.Data)
	if at < 0 || &line[at] != &req.Send.Data[0] {
		t.Error("data was copied")
	}
	if allocs := testing.AllocsPerRun(100, func() { _, _ = DecodeRequest(line) }); allocs > 2 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestEveryErrorIsOneLineOfJSON(t *testing.T) {
	t.Parallel()
	e := &Error{Code: CodeInternal, Message: "a\nb\x00\xff\u2028\""}
	line := AppendError([]byte("x"), Request{ID: 3, HasID: true}, e)
	if line[0] != 'x' || bytes.IndexByte(line, '\n') != len(line)-1 || !json.Valid(line[1:]) {
		t.Errorf("%q", line)
	}
}

// FuzzDecodeRequest holds what a stranger can send: no bytes make the decoder panic, and what it accepts every other
// JSON reader understands the same way.
func FuzzDecodeRequest(f *testing.F) {
	for _, c := range readCases[requestCase](f, "requests.jsonl") {
		f.Add([]byte(c.Line))
	}
	f.Add(sendLine(`"bob"`, nested(MaxDepth)))
	f.Add(sendLine(`"bob"`, nested(MaxDepth+1)))
	f.Add(sendLine(`"bob"`, "\"\xff\""))
	f.Add(AppendPublish(nil, 1, "g1", []byte(nested(MaxDepth))))
	f.Add(AppendWatch(nil, 1, OpWatch, []ClientID{"bob", "carol"}))
	f.Add(AppendGroup(nil, MaxRequestID, OpLeave, GroupName(strings.Repeat("g", MaxIDLength))))
	f.Fuzz(func(t *testing.T, line []byte) {
		req, refused := DecodeRequest(line)
		if refused != nil {
			checkRefusal(t, req, refused)
			return
		}
		if !json.Valid(line) {
			t.Fatalf("accepted, but not JSON: %q", line)
		}
		switch req.Op {
		case OpSend:
			checkSend(t, line, req)
		case OpAuth:
			again, err := DecodeRequest(AppendAuth(nil, req.Auth))
			if err != nil && err.Code != CodeTooLarge || err == nil && again.Auth != req.Auth { // escaped, a token is longer
				t.Fatalf("encoded again: %+v, %v; before %+v", again, err, req)
			}
		case OpJoin, OpLeave:
			checkGroup(t, line, req)
			again, err := DecodeRequest(AppendGroup(nil, req.ID, req.Op, req.Group))
			if err != nil || again.Op != req.Op || again.ID != req.ID || again.Group != req.Group {
				t.Fatalf("encoded again: %+v, %v; before %+v", again, err, req)
			}
		case OpPublish:
			checkPublish(t, line, req)
		case OpWatch, OpUnwatch:
			again, err := DecodeRequest(AppendWatch(nil, req.ID, req.Op, req.Clients))
			if err != nil || again.Op != req.Op || again.ID != req.ID || !slices.Equal(again.Clients, req.Clients) {
				t.Fatalf("encoded again: %+v, %v; before %+v", again, err, req)
			}
		case OpMembers:
			again, err := DecodeRequest(AppendMembers(nil, req.ID, req.Members))
			if err != nil || again.Op != req.Op || again.ID != req.ID || again.Members != req.Members {
				t.Fatalf("encoded again: %+v, %v; before %+v", again, err, req)
			}
		case OpCall:
			again, err := DecodeRequest(AppendCall(nil, req.ID, *req.Call))
			if err != nil || again.Op != req.Op || again.ID != req.ID || !reflect.DeepEqual(again.Call, req.Call) {
				t.Fatalf("encoded again: %+v, %v; before %+v", again, err, req)
			}
		case OpPing, OpPong:
		default:
			t.Fatalf("accepted without an operation: %+v", req)
		}
	})
}

func checkRefusal(t *testing.T, req Request, refused *Error) {
	t.Helper()
	if refused.Code != CodeBadRequest && refused.Code != CodeTooLarge {
		t.Fatalf("refused with %v", refused)
	}
	e, err := DecodeEvent(AppendError(nil, req, refused))
	if err != nil || *e.Error != *refused || (e.ID != nil) != req.HasID {
		t.Fatalf("the error comes out as %+v: %v", e, err)
	}
}

func checkSend(t *testing.T, line []byte, req Request) {
	t.Helper()
	var std struct {
		ID   uint64
		Send struct {
			To   ClientID
			Data json.RawMessage
		}
	}
	if err := json.Unmarshal(line, &std); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	if !req.HasID || std.ID != req.ID || std.Send.To != req.Send.To || !bytes.Equal(std.Send.Data, req.Send.Data) {
		t.Fatalf("encoding/json reads %+v, not %+v", std, req)
	}
	at := bytes.Index(line, req.Send.Data)
	if at < 0 {
		t.Fatal("data is not in the line byte for byte")
	}
	if utf8Valid := bytes.Equal(bytes.ToValidUTF8(line, nil), line); utf8Valid && !ValidData(req.Send.Data) {
		t.Fatalf("ValidData refuses what was accepted: %q", req.Send.Data)
	}
	again, err := DecodeRequest(AppendSend(nil, req.ID, req.Send.To, req.Send.Data))
	if err != nil || again.ID != req.ID || again.Send.To != req.Send.To || !bytes.Equal(again.Send.Data, req.Send.Data) {
		t.Fatalf("encoded again: %+v, %v", again, err)
	}
	msg := EncodeMsg("alice", req.Send.Data)
	if bytes.IndexByte(msg, '\n') != len(msg)-1 {
		t.Fatalf("a message takes more than one line: %q", msg)
	}
	e, eventErr := DecodeEvent(msg)
	if eventErr != nil || e.Msg == nil || e.Msg.From != "alice" || !bytes.Equal(e.Msg.Data, req.Send.Data) {
		t.Fatalf("the recipient reads %+v: %v", e, eventErr)
	}
}

// checkGroup holds what a request about a group names.
func checkGroup(t *testing.T, line []byte, req Request) {
	t.Helper()
	type about struct{ Group GroupName }
	var std struct {
		ID                   uint64
		Join, Leave, Publish about
	}
	if err := json.Unmarshal(line, &std); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	group := map[Op]about{OpJoin: std.Join, OpLeave: std.Leave, OpPublish: std.Publish}[req.Op].Group
	if !req.HasID || std.ID != req.ID || group != req.Group {
		t.Fatalf("encoding/json reads %+v, not %+v", std, req)
	}
	if _, err := ParseGroupName(req.Group); err != nil {
		t.Fatal(err)
	}
}

func checkPublish(t *testing.T, line []byte, req Request) {
	t.Helper()
	checkGroup(t, line, req)
	if !bytes.Contains(line, req.Send.Data) {
		t.Fatal("data is not in the line byte for byte")
	}
	again, err := DecodeRequest(AppendPublish(nil, req.ID, req.Group, req.Send.Data))
	if err != nil || again.Op != OpPublish || again.ID != req.ID || again.Group != req.Group || !bytes.Equal(again.Send.Data, req.Send.Data) {
		t.Fatalf("encoded again: %+v, %v", again, err)
	}
	msg := EncodeGroupMsg("alice", req.Group, req.Send.Data)
	if bytes.IndexByte(msg, '\n') != len(msg)-1 {
		t.Fatalf("a message takes more than one line: %q", msg)
	}
	e, eventErr := DecodeEvent(msg)
	if eventErr != nil || e.Msg == nil || e.Msg.From != "alice" || e.Msg.Group != req.Group || !bytes.Equal(e.Msg.Data, req.Send.Data) {
		t.Fatalf("a member reads %+v: %v", e, eventErr)
	}
}

// send128 is a send frame of 128 bytes.
var send128 = func() []byte {
	line := sendLine(`"user-000042"`, `{"text":"`+strings.Repeat("x", 73)+`"}`)
	if len(line) != 128 {
		panic(len(line))
	}
	return line
}()

func BenchmarkDecodeRequest(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(send128)))
	for b.Loop() {
		if _, err := DecodeRequest(send128); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidData(b *testing.B) {
	req, _ := DecodeRequest(send128)
	b.ReportAllocs()
	for b.Loop() {
		if !ValidData(req.Send.Data) {
			b.Fatal("refused")
		}
	}
}
