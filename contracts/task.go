package contracts

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"
)

// Task is a call as an instance of a service gets it. All but the data is what the edge knows, and nothing of it is taken
// from the client's payload.
//
// It is one JSON object rather than NATS headers, which cost 2.5 times a plain publish, and which a client library in
// another language may not have.
type Task struct {
	Client  ClientID
	Session SessionID
	ID      uint64  // of the client's request: with Session it names the call, also when an idempotent one is tried again
	Key     CallKey // empty: none
	// Timeout is what was left of the call's time when the edge took it: no clocks are compared. After it nobody waits for
	// the answer.
	Timeout time.Duration
	Data    []byte // one JSON value on one line
}

// ErrInvalidTask is returned by [ReadTask] for what is none.
var ErrInvalidTask = errors.New("not a call")

// TaskSize is how much [AppendTask] appends at most.
func TaskSize(t Task) int { return 128 + len(t.Client) + len(t.Session) + len(t.Key) + len(t.Data) }

// AppendTask appends a task to dst. Data is last: what was appended ends with it and a bracket.
func AppendTask(dst []byte, t Task) []byte {
	dst = append(dst, `{"client":"`...)
	dst = append(dst, t.Client...)
	dst = append(dst, `","session":"`...)
	dst = append(dst, t.Session...)
	dst = append(dst, `","id":`...)
	dst = strconv.AppendUint(dst, t.ID, 10)
	if t.Key != "" {
		dst = append(dst, `,"key":"`...)
		dst = append(dst, t.Key...)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"timeout_ms":`...)
	dst = strconv.AppendInt(dst, max(1, t.Timeout.Milliseconds()), 10)
	dst = append(dst, `,"data":`...)
	dst = append(dst, t.Data...)
	return append(dst, '}')
}

// ReadTask reads what [AppendTask] wrote. Data is a view of b. Members that it does not know are passed over.
func ReadTask(b []byte) (Task, error) {
	var t Task
	buf := scratches.Get().(*scratch)
	defer buf.free()
	n, end := scanObject(b, 0, buf.members[:])
	if end < 0 || n > maxMembers || skipSpace(b, end) != len(b) {
		return Task{}, ErrInvalidTask
	}
	var err error
	for i := range buf.members[:n] {
		m := &buf.members[i]
		switch string(m.name) {
		case "client":
			t.Client, err = decodeClientID(m.value)
		case "session":
			t.Session, err = ParseSessionID(bytes.Trim(m.value, `"`))
		case "id":
			t.ID, err = strconv.ParseUint(string(m.value), 10, 64)
		case "key":
			var key ClientID
			key, err = decodeClientID(m.value)
			t.Key = CallKey(key)
		case "timeout_ms":
			var ms uint64
			ms, err = strconv.ParseUint(string(m.value), 10, 32)
			t.Timeout = time.Duration(ms) * time.Millisecond
		case "data":
			t.Data = m.value
		}
		if err != nil {
			return Task{}, ErrInvalidTask
		}
	}
	if t.Client == "" || t.Session == "" || t.Timeout == 0 || t.Data == nil {
		return Task{}, ErrInvalidTask
	}
	return t, nil
}

// Refusal says why an instance did not carry out a call. Nothing of the call was done, so it may be tried elsewhere.
type Refusal string

// The reasons.
const (
	RefusedBusy     Refusal = "busy"     // it has as much as it takes
	RefusedDraining Refusal = "draining" // it is being stopped, and does not have the key
	RefusedLate     Refusal = "late"     // the call's time was over before its turn came
)

// Answer is what an instance answers to a task: exactly one of the three.
type Answer struct {
	Data    []byte // one JSON value on one line
	Error   *Error // of the service's own making: its code is any word of a-z and _
	Refused Refusal
}

// ErrInvalidAnswer is returned by [ReadAnswer] for what is no answer.
var ErrInvalidAnswer = errors.New("not an answer to a call")

// AppendAnswer appends an answer to dst.
func AppendAnswer(dst []byte, a Answer) []byte {
	switch {
	case a.Refused != "":
		return append(append(append(dst, `{"refused":"`...), a.Refused...), `"}`...)
	case a.Error != nil:
		dst = append(dst, `{"error":`...)
		dst = appendJSON(dst, a.Error)
		dst[len(dst)-1] = '}' // in place of the line break
		return dst
	}
	return append(append(append(dst, `{"data":`...), a.Data...), '}')
}

// ReadAnswer reads an answer, from whom nothing is taken on trust: its data is checked as a client's is, and line breaks between
// tokens are taken out. Data may be a view of b. The error is [ErrInvalidAnswer].
func ReadAnswer(b []byte) (Answer, error) {
	buf := scratches.Get().(*scratch)
	defer buf.free()
	n, end := scanObject(b, 0, buf.members[:])
	if end < 0 || n != 1 || skipSpace(b, end) != len(b) || !utf8.Valid(b) {
		return Answer{}, ErrInvalidAnswer
	}
	value := buf.members[0].value
	switch string(buf.members[0].name) {
	case "data":
		if bytes.IndexByte(value, '\n') >= 0 {
			var line bytes.Buffer
			if json.Compact(&line, value) != nil {
				return Answer{}, ErrInvalidAnswer
			}
			value = line.Bytes()
		}
		if scanValue(value, 0, MaxDepth) != len(value) {
			return Answer{}, ErrInvalidAnswer
		}
		return Answer{Data: value}, nil
	case "error":
		var e Error
		if json.Unmarshal(value, &e) != nil || !validCode(e.Code) || len(e.Message) > MaxErrorMessage {
			return Answer{}, ErrInvalidAnswer
		}
		e.Unsure = false // that is for the edge to say
		return Answer{Error: &e}, nil
	case "refused":
		switch r := Refusal(bytes.Trim(value, `"`)); r {
		case RefusedBusy, RefusedDraining, RefusedLate:
			return Answer{Refused: r}, nil
		}
	}
	return Answer{}, ErrInvalidAnswer
}

// validCode tells whether a service may use this code: a word, so that it can be a label or a log's attribute.
func validCode(c Code) bool {
	for i := range len(c) {
		if b := c[i]; (b < 'a' || b > 'z') && b != '_' {
			return false
		}
	}
	return c != "" && len(c) <= MaxNodeIDLength
}
