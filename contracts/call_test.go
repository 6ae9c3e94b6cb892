package contracts

import (
	"bytes"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// callCase is one line of calls.jsonl.
type callCase struct {
	Name   string      `json:"name"`
	Kind   string      `json:"kind"`
	Encode bool        `json:"encode,omitempty"` // Text is what the encoder makes of the rest
	Text   string      `json:"text"`
	Task   *taskForm   `json:"task,omitempty"`
	Answer *answerForm `json:"answer,omitempty"`
	Report *reportForm `json:"report,omitempty"`
	Error  bool        `json:"error,omitempty"`
}

type taskForm struct {
	Client    ClientID  `json:"client"`
	Session   SessionID `json:"session"`
	ID        string    `json:"id"`
	Key       CallKey   `json:"key,omitempty"`
	TimeoutMS int64     `json:"timeout_ms"`
	Data      string    `json:"data"`
}

type answerForm struct {
	Data    string  `json:"data,omitempty"`
	Code    Code    `json:"code,omitempty"`
	Message string  `json:"message,omitempty"`
	Refused Refusal `json:"refused,omitempty"`
}

func encodeCallCase(tb testing.TB, c callCase) []byte {
	tb.Helper()
	switch {
	case c.Task != nil:
		f := c.Task
		id, err := strconv.ParseUint(f.ID, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		t := Task{f.Client, f.Session, id, f.Key, time.Duration(f.TimeoutMS) * time.Millisecond, []byte(f.Data)}
		b := AppendTask(nil, t)
		if len(b) > TaskSize(t) {
			tb.Errorf("%s: %d bytes, more than %d", c.Name, len(b), TaskSize(t))
		}
		return b
	case c.Answer != nil:
		a := Answer{Data: []byte(c.Answer.Data), Refused: c.Answer.Refused}
		if c.Answer.Code != "" {
			a.Error = &Error{Code: c.Answer.Code, Message: c.Answer.Message}
		}
		return AppendAnswer(nil, a)
	}
	f := c.Report
	return AppendReport(nil, Report{
		Service: f.Service, Instance: f.Instance, Epoch: Epoch(f.Epoch), InFlight: f.InFlight, Capacity: f.Capacity, Waiting: f.Waiting, Weight: f.Weight,
		Latency: time.Duration(f.LatencyUS) * time.Microsecond, Draining: f.Draining, Ended: f.Ended, Life: time.Duration(f.LifeMS) * time.Millisecond,
	})
}

func TestGoldenCalls(t *testing.T) {
	golden(t, "calls.jsonl", func(c callCase) string { return c.Name }, func(tb testing.TB, c callCase) callCase {
		tb.Helper()
		if c.Encode {
			c.Text = string(encodeCallCase(tb, c))
		}
		made := callCase{Name: c.Name, Kind: c.Kind, Encode: c.Encode, Text: c.Text}
		var err error
		switch c.Kind {
		case "call":
			var t Task
			if t, err = ReadTask([]byte(c.Text)); err == nil {
				made.Task = &taskForm{t.Client, t.Session, strconv.FormatUint(t.ID, 10), t.Key, t.Timeout.Milliseconds(), string(t.Data)}
			}
		case "answer":
			var a Answer
			if a, err = ReadAnswer([]byte(c.Text)); err == nil {
				made.Answer = &answerForm{Data: string(a.Data), Refused: a.Refused}
				if a.Error != nil {
					made.Answer.Code, made.Answer.Message = a.Error.Code, a.Error.Message
				}
			}
		case "report":
			var r Report
			if r, err = ReadReport([]byte(c.Text)); err == nil {
				made.Report = &reportForm{
					r.Service, r.Instance, uint64(r.Epoch), r.InFlight, r.Capacity, r.Waiting, r.Weight, r.Latency.Microseconds(),
					r.Life.Milliseconds(), r.Draining, r.Ended,
				}
			}
		}
		made.Error = err != nil
		if c.Encode && (err != nil || !reflect.DeepEqual([]any{c.Task, c.Answer, c.Report}, []any{made.Task, made.Answer, made.Report})) {
			tb.Errorf("%s: encoded and read again it is %s", c.Name, mustJSON(tb, made))
		}
		return made
	})
}

func FuzzReadAnswer(f *testing.F) {
	for _, c := range readCases[callCase](f, "calls.jsonl") {
		f.Add([]byte(c.Text))
	}
	f.Add([]byte("{\"data\":\"\xff\"}"))
	f.Add([]byte(`{"data":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ReadTask(b)
		_, _ = ReadReport(b)
		a, err := ReadAnswer(b)
		if err != nil {
			return
		}
		if a.Error == nil && a.Refused == "" && !ValidData(a.Data) {
			t.Fatalf("%q is taken for data", a.Data)
		}
		// What reaches a client is one object on one line, which is the answer to its request, and nothing else.
		var line []byte
		if a.Error != nil {
			line = AppendError(nil, Request{ID: 7, HasID: true}, a.Error)
		} else if a.Refused == "" {
			line = AppendAnswered(nil, 7, a.Data)
		} else {
			return
		}
		e, err := DecodeEvent(line)
		if err != nil || bytes.Count(line, []byte("\n")) != 1 || e.ID == nil || *e.ID != 7 || e.Msg != nil || (e.OK == nil) == (e.Error == nil) {
			t.Fatalf("%q becomes %q", b, line)
		}
	})
}

func TestACallIsDecodedWithoutACopyOfItsData(t *testing.T) {
	line := []byte(`{"id":9,"call":{"service":"orders","key":"cart-7","data":{"n":1},"timeout_ms":500}}`)
	req, refused := DecodeRequest(line)
	if refused != nil {
		t.Fatal(refused)
	}
	if at := bytes.Index(line, req.Call.Data); at < 0 || &line[at] != &req.Call.Data[0] {
		t.Error("data was copied")
	}
	// The call, the service and the key: these are kept for longer than the frame.
	if allocs := testing.AllocsPerRun(100, func() { _, _ = DecodeRequest(line) }); allocs > 3 {
		t.Errorf("%v allocations", allocs)
	}
	task := Task{Client: "alice", Session: "00112233445566778899aabbccddeeff", ID: 9, Key: "cart-7", Timeout: time.Second, Data: req.Call.Data}
	buf := make([]byte, 0, TaskSize(task))
	if allocs := testing.AllocsPerRun(100, func() { buf = AppendTask(buf[:0], task) }); allocs != 0 {
		t.Errorf("%v allocations for the task", allocs)
	}
	answer := []byte(`{"data":{"n":1}}`)
	if allocs := testing.AllocsPerRun(100, func() { _, _ = ReadAnswer(answer) }); allocs != 0 {
		t.Errorf("%v allocations for the answer", allocs)
	}
}

func TestSubjectsOfCalls(t *testing.T) {
	t.Parallel()
	prefix := AnswersPrefix("a", "a1")
	subject := string(AppendAnswerSubject(nil, prefix, 1<<63, 1<<64-1))
	if seq, secret, ok := ParseAnswerSubject(subject, prefix); seq != 1<<63 || secret != 1<<64-1 || !ok {
		t.Errorf("%s: %d, %d, %t", subject, seq, secret, ok)
	}
	for _, s := range []string{"", "a.answers.a1.", "a.answers.a1.1", "a.answers.a1.1.", "a.answers.a1.1.2.3", "a.answers.a2.1.2", "a.answers.a1.-1.2"} {
		if _, _, ok := ParseAnswerSubject(s, prefix); ok {
			t.Errorf("%q is taken for a subject of an answer", s)
		}
	}
	if key := BindingKey("a", "orders", "cart-7"); len(key) != len("bl:a:call:{}")+26 || key == BindingKey("a", "orders", "cart-8") || key == BindingKey("a", "order", "s.cart-7") {
		t.Errorf("%s", key)
	}
	if s, i, e, ok := ParseMissed("a", string(MissedSubject("a", "orders", "i-1", MaxRequestID))); s != "orders" || i != "i-1" || e != MaxRequestID || !ok {
		t.Errorf("%s, %s, %d, %t", s, i, e, ok)
	}
	if got := InstanceSubject("a", "orders", "i-1", 1753000000); got != "a.call.orders.i-1.1753000000" { // not as String has it: every language can write it
		t.Error(got)
	}
	for _, s := range []string{
		"a.missed.orders", "a.missed.orders.i", "a.missed..i.1", "a.missed.*.i.1", "b.missed.orders.i.1", "a.missed.orders.i.j", "a.missed.orders.i.1.1",
		"a.missed.orders.i.", "a.missed.orders.i.-1",
	} {
		if _, _, _, ok := ParseMissed("a", s); ok {
			t.Errorf("%q is taken for a subject of an instance that was missed", s)
		}
	}
}
