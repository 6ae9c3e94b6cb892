package contracts

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// BackendOp is what a backend asks for: the last part of the path of its request, and the name of an operation in a batch.
type BackendOp string

// The operations of backends. [BackendBatch] is several of the others.
const (
	BackendSend       BackendOp = "send"
	BackendPublish    BackendOp = "publish"
	BackendBroadcast  BackendOp = "broadcast"
	BackendPresence   BackendOp = "presence"
	BackendMembers    BackendOp = "members"
	BackendDisconnect BackendOp = "disconnect"
	BackendTokens     BackendOp = "tokens"
	BackendBatch      BackendOp = "batch"
)

// BackendSubject is where edges are asked for an operation over NATS: `<cluster>.api.<operation>`. Those of a cluster share what comes.
func BackendSubject(c ClusterName, op BackendOp) Subject {
	return Subject(string(c) + ".api." + string(op))
}

// Headers of what backends ask, over HTTP and NATS.
const (
	// BackendKeyHeader carries the backend's key.
	BackendKeyHeader = "Beeline-Api-Key"
	// IdempotencyHeader names a request, so that asking again does nothing again.
	IdempotencyHeader = "Idempotency-Key"
)

// Limits of what backends ask for.
const (
	// MaxBackendBody bounds the body of a request, in bytes.
	MaxBackendBody = 1 << 20
	// MaxBroadcast bounds the recipients of one broadcast.
	MaxBroadcast = 1000
	// MaxBatch bounds the operations of one batch.
	MaxBatch = 100
	// MaxTokenLife bounds how long a token is good that a backend has made. DefaultTokenLife is for one that does not say.
	MaxTokenLife     = 30 * 24 * time.Hour
	DefaultTokenLife = time.Hour
)

// BackendRequest is one operation that a backend asks for.
type BackendRequest struct {
	Op      BackendOp
	From    ClientID     // of a send, publish or broadcast
	Clients []ClientID   // whom it is about: one of a send, disconnect or tokens; each once
	Group   GroupName    // of a publish
	Data    []byte       // of a send, publish or broadcast: [ValidData]
	Members MembersQuery // of members
	Session SessionID    // of a disconnect: only this one; empty: all
	Close   CloseCode    // of a disconnect
	Token   TokenGrant   // of tokens
}

// TokenGrant says what a token is to say besides whose it is. A list that is nil leaves it to the server, one that is empty
// allows nothing.
type TokenGrant struct {
	Life                      time.Duration
	Send, Groups, Watch, Call []string
}

// backendFields are the members that each operation may have; all but those of optionalFields must be there.
var backendFields = map[BackendOp][]string{
	BackendSend:       {"from", "to", "data"},
	BackendPublish:    {"from", "group", "data"},
	BackendBroadcast:  {"from", "to", "data"},
	BackendPresence:   {"clients"},
	BackendMembers:    {"group", "after", "limit"},
	BackendDisconnect: {"client", "session", "retry"},
	BackendTokens:     {"client", "ttl_s", "send", "groups", "watch", "call"},
}

var optionalFields = map[string]bool{
	"after": true, "limit": true, "session": true, "retry": true, "ttl_s": true, "send": true, "groups": true, "watch": true, "call": true,
}

// DecodeBackendRequest reads the body of a request for an operation that is no batch. Like [DecodeRequest], it is strict:
// nothing unknown, nothing twice. The error is nil or what the backend should be told. It keeps views of body.
func DecodeBackendRequest(op BackendOp, body []byte) (BackendRequest, *Error) {
	if !utf8.Valid(body) {
		return BackendRequest{Op: op}, newError(CodeBadRequest, "the body is not UTF-8")
	}
	return decodeBackend(op, body)
}

func decodeBackend(op BackendOp, body []byte) (BackendRequest, *Error) {
	req := BackendRequest{Op: op}
	names := backendFields[op]
	var members [maxMembers]member
	n, end := scanObject(body, 0, members[:])
	if end < 0 || skipSpace(body, end) != len(body) {
		return req, newError(CodeBadRequest, "the body is not one JSON object, or nests too deeply")
	}
	raw := map[string][]byte{}
	for _, m := range members[:min(n, len(members))] {
		name := string(m.name)
		switch {
		case raw[name] != nil:
			return req, newError(CodeBadRequest, "a member is there twice")
		case !slices.Contains(names, name):
			return req, newError(CodeBadRequest, "a member that "+string(op)+" does not have")
		}
		raw[name] = m.value
	}
	for _, name := range names {
		value := raw[name]
		if value == nil {
			if !optionalFields[name] {
				return req, newError(CodeBadRequest, string(op)+" needs "+name)
			}
			continue
		}
		if err := req.decodeField(name, value); err != nil {
			return req, newError(CodeBadRequest, name+": "+err.Error())
		}
	}
	req.defaults()
	return req, nil
}

// defaults sets what was left out.
func (r *BackendRequest) defaults() {
	switch r.Op {
	case BackendMembers:
		r.Members.Group = r.Group
		if r.Members.Limit == 0 {
			r.Members.Limit = defaultMembers
		}
	case BackendDisconnect:
		if r.Close == 0 {
			r.Close = CloseForbidden
		}
	case BackendTokens:
		if r.Token.Life == 0 {
			r.Token.Life = DefaultTokenLife
		}
	}
}

// decodeField reads one member. The error says what it should be.
func (r *BackendRequest) decodeField(name string, raw []byte) (err error) {
	var id ClientID
	switch name {
	case "from":
		r.From, err = decodeClientID(raw)
	case "group":
		id, err = decodeClientID(raw)
		r.Group = GroupName(id)
	case "after":
		r.Members.After, err = decodeClientID(raw)
	case "data":
		r.Data, err = decodeData(raw)
	case "limit":
		r.Members.Limit, err = decodeInt(raw, MaxMembers)
	case "clients":
		r.Clients, err = decodeClientList(raw, MaxWatch)
	case "client", "to":
		if r.Op == BackendBroadcast {
			r.Clients, err = decodeClientList(raw, MaxBroadcast)
			break
		}
		id, err = decodeClientID(raw)
		r.Clients = []ClientID{id}
	case "session":
		r.Session, err = decodeSession(raw)
	case "retry":
		r.Close, err = decodeRetry(raw)
	default:
		return r.Token.decode(name, raw)
	}
	return err
}

func (g *TokenGrant) decode(name string, raw []byte) (err error) {
	switch name {
	case "ttl_s":
		var seconds int
		seconds, err = decodeInt(raw, int(MaxTokenLife/time.Second))
		g.Life = time.Duration(seconds) * time.Second
	case "send":
		g.Send, err = decodeStrings(raw, 0, maxPatterns)
	case "groups":
		g.Groups, err = decodeStrings(raw, 0, maxPatterns)
	case "watch":
		g.Watch, err = decodeStrings(raw, 0, maxPatterns)
	case "call":
		g.Call, err = decodeStrings(raw, 0, maxPatterns)
	}
	return err
}

// maxPatterns is how many a token may have for one thing.
const maxPatterns = 64

// decodeData makes of a value what may stand as `data`: a line break, which can only be between tokens, becomes a space.
func decodeData(raw []byte) ([]byte, error) {
	if bytes.IndexByte(raw, '\n') >= 0 {
		raw = bytes.ReplaceAll(raw, []byte("\n"), []byte(" "))
	}
	if !ValidData(raw) {
		return nil, errors.New("it nests deeper than " + strconv.Itoa(MaxDepth) + " levels")
	}
	return raw, nil
}

func decodeInt(raw []byte, most int) (int, error) {
	n, err := strconv.ParseUint(string(raw), 10, 32)
	if err != nil || n < 1 || n > uint64(most) {
		return 0, errors.New("it must be an integer from 1 to " + strconv.Itoa(most))
	}
	return int(n), nil
}

func decodeSession(raw []byte) (SessionID, error) {
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", errNotString
	}
	return ParseSessionID(s)
}

// closesToAsk are the codes that a backend may ask for, by what the client then does.
var closesToAsk = map[string]CloseCode{`"never"`: CloseForbidden, `"token"`: CloseUnauthorized, `"backoff"`: CloseRestart}

func decodeRetry(raw []byte) (CloseCode, error) {
	code, ok := closesToAsk[string(raw)]
	if !ok {
		return 0, errors.New("it must be never, token or backoff")
	}
	return code, nil
}

// decodeStrings reads a list. Its commas are counted before there is memory for it: what may stand in it has none.
func decodeStrings(raw []byte, least, most int) ([]string, error) {
	list := []string{}
	if raw[0] != '[' || bytes.Count(raw, []byte(",")) >= most || json.Unmarshal(raw, &list) != nil || len(list) < least {
		return nil, errors.New("it must be a list of " + strconv.Itoa(least) + " to " + strconv.Itoa(most) + " strings")
	}
	return list, nil
}

// decodeClientList reads a list of clients; one that is there twice counts once.
func decodeClientList(raw []byte, most int) ([]ClientID, error) {
	names, err := decodeStrings(raw, 1, most)
	if err != nil {
		return nil, err
	}
	clients, seen := make([]ClientID, 0, len(names)), make(map[ClientID]bool, len(names))
	for _, name := range names {
		id, err := ParseClientID(name)
		if err != nil {
			return nil, err
		}
		if !seen[id] {
			seen[id] = true
			clients = append(clients, id)
		}
	}
	return clients, nil
}

// BatchItem is one operation of a batch, or what is wrong with it.
type BatchItem struct {
	Request BackendRequest
	Bad     *Error
}

// DecodeBackendBatch reads the body of a batch: `{"operations":[{"send":{…}},…]}`. What is wrong with one operation is its
// own matter; an error is about the batch as a whole.
func DecodeBackendBatch(body []byte) ([]BatchItem, *Error) {
	if !utf8.Valid(body) {
		return nil, newError(CodeBadRequest, "the body is not UTF-8")
	}
	none := newError(CodeBadRequest, `the body is not {"operations":[…]} with 1 to `+strconv.Itoa(MaxBatch)+" objects")
	i := skipSpace(body, 0)
	if i >= len(body) || body[i] != '{' {
		return nil, none
	}
	start := skipSpace(body, i+1)
	nameEnd, i := scanKey(body, start)
	if i < 0 || string(body[start+1:nameEnd]) != "operations" {
		return nil, none
	}
	if i = skipSpace(body, i); i >= len(body) || body[i] != '[' {
		return nil, none
	}
	var items []BatchItem
	for more := true; more; {
		var members [2]member
		n, end := scanObject(body, i+1, members[:])
		if end < 0 || len(items) == MaxBatch {
			return nil, none
		}
		items = append(items, decodeItem(members[0], n))
		if i = skipSpace(body, end); i >= len(body) {
			return nil, none
		}
		more = body[i] == ','
	}
	if body[i] != ']' {
		return nil, none
	}
	if i = skipSpace(body, i+1); i >= len(body) || body[i] != '}' || skipSpace(body, i+1) != len(body) {
		return nil, none
	}
	return items, nil
}

func decodeItem(op member, n int) BatchItem {
	if n != 1 || backendFields[BackendOp(op.name)] == nil {
		return BatchItem{Bad: newError(CodeBadRequest, "an operation is an object with one member: send, publish, broadcast, presence, members, disconnect or tokens")}
	}
	req, bad := decodeBackend(BackendOp(op.name), op.value)
	return BatchItem{Request: req, Bad: bad}
}
