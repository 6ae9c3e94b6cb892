package contracts

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
)

// Op is what a client asks for.
type Op uint8

// The operations.
const (
	OpNone Op = iota // not decoded
	OpAuth
	OpSend
	OpPing
	OpJoin
	OpLeave
	OpPublish
	OpWatch
	OpUnwatch
	OpMembers
	OpCall
	OpPong // the answer to a server's ping over raw TCP; has no answer itself
)

// Request is one decoded object of a client's frame. Byte slices in it are views of the frame.
type Request struct {
	ID    uint64 // chosen by the client; the answer carries it
	HasID bool
	Op    Op
	Auth  Auth      // of an OpAuth
	Send  Send      // of an OpSend; its Data also of an OpPublish
	Group GroupName // of an OpJoin, OpLeave or OpPublish

	Clients []ClientID // of an OpWatch or OpUnwatch: 1 to [MaxWatch]

	Members MembersQuery // of an OpMembers

	Call *Call // of an OpCall; apart, because each connection would pay for its size in the stack of who reads it
}

// Auth is how a client says who it is: by a token or, where the edge allows that (dev), by name.
type Auth struct {
	Token  string
	Client ClientID
	Device string // optional: names the client's device, with the alphabet of a client id
}

// Send is a message to one client.
type Send struct {
	To   ClientID
	Data []byte // one JSON value, as the client wrote it
}

// scratch is where an object's members are kept while it is decoded. It is not on the stack, where it would double that
// of every connection's reader, for good.
type scratch struct{ members [maxMembers]member }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) free() {
	s.members = [maxMembers]member{} // keeps no frame alive
	scratches.Put(s)
}

// maxMembers is more than any object of the protocol has.
const maxMembers = 8

// DecodeRequest reads one line of a client's frame. The error is nil or what the client should be told; the request
// then still carries the id, where that could be read. It never panics, allocates little, and keeps views of line.
func DecodeRequest(line []byte) (Request, *Error) {
	var req Request
	buf := scratches.Get().(*scratch)
	defer buf.free()
	members := &buf.members
	n, end := scanObject(line, 0, members[:])
	if end < 0 || skipSpace(line, end) != len(line) {
		return req, newError(CodeBadRequest, "not a JSON object on a line of its own")
	}
	if n > maxMembers {
		return req, newError(CodeBadRequest, "too many members: an object has an id and one operation")
	}
	var op *member
	for i := range members[:n] {
		m := &members[i]
		switch {
		case string(m.name) == "id" && !req.HasID:
			id, err := strconv.ParseUint(string(m.value), 10, 64)
			if err != nil || id > MaxRequestID {
				return req, newError(CodeBadRequest, "id must be an integer from 0 to 2^53-1")
			}
			req.ID, req.HasID = id, true
		case op == nil:
			op = m
		}
	}
	return req, decodeOp(&req, op, n)
}

func decodeOp(req *Request, op *member, n int) *Error {
	want := 1
	if req.HasID {
		want = 2
	}
	switch {
	case op == nil:
		return newError(CodeBadRequest, "no operation: one of auth, send, call, join, leave, publish, watch, unwatch, members, ping")
	case n != want:
		return newError(CodeBadRequest, "more than one operation: each object has one, and one id")
	}
	switch string(op.name) {
	case "auth":
		req.Op = OpAuth
		return req.Auth.decode(op.value)
	case "send":
		req.Op = OpSend
		if !req.HasID {
			return newError(CodeBadRequest, "send needs an id")
		}
		return req.Send.decode(op.value)
	case "call":
		req.Op = OpCall
		return req.decodeCall(op.value)
	case "join", "leave", "publish":
		return req.decodeGroup(string(op.name), op.value)
	case "watch":
		req.Op = OpWatch
		return req.decodeClients("watch", op.value)
	case "unwatch":
		req.Op = OpUnwatch
		return req.decodeClients("unwatch", op.value)
	case "members":
		req.Op = OpMembers
		return req.decodeMembers(op.value)
	case "ping":
		req.Op = OpPing
		return decodeFields(nil, "ping", op.value)
	case "pong":
		req.Op = OpPong
		if req.HasID {
			return newError(CodeBadRequest, "pong has no id: it is itself an answer")
		}
		return decodeFields(nil, "pong", op.value)
	}
	return newError(CodeBadRequest, "unknown operation: one of auth, send, call, join, leave, publish, watch, unwatch, members, ping")
}

// decodeFields reads the object of an operation into raw, as the raw values of the fields with these names, nil for one that
// is not there, and refuses what has another name or comes twice: a client that misspells a field, or tries to set one that is
// not its to set, should hear of it.
func decodeFields(raw [][]byte, op string, b []byte, names ...string) *Error {
	buf := scratches.Get().(*scratch)
	defer buf.free()
	members := &buf.members
	n, end := scanObject(b, 0, members[:])
	if end < 0 || n > maxMembers {
		return newError(CodeBadRequest, op+" must be an object with its own fields only")
	}
next:
	for i := range members[:n] {
		for j, name := range names {
			if string(members[i].name) != name {
				continue
			}
			if raw[j] != nil {
				return newError(CodeBadRequest, op+" has "+name+" twice")
			}
			raw[j] = members[i].value
			continue next
		}
		if string(members[i].name) == "from" {
			return newError(CodeBadRequest, op+" may not have from: the server sets it")
		}
		return newError(CodeBadRequest, op+" has an unknown field")
	}
	return nil
}

func (s *Send) decode(b []byte) *Error {
	var raw [2][]byte
	bad := decodeFields(raw[:], "send", b, "to", "data")
	if bad != nil {
		return bad
	}
	to := raw[0]
	s.Data = raw[1]
	switch {
	case to == nil:
		return newError(CodeBadRequest, "send needs to")
	case s.Data == nil:
		return newError(CodeBadRequest, "send needs data")
	case bytes.IndexByte(s.Data, '\n') >= 0:
		return newError(CodeBadRequest, "data has a line break: an object stands on one line")
	}
	id, err := decodeClientID(to)
	if err != nil {
		return newError(CodeBadRequest, "to: "+err.Error())
	}
	s.To = id
	return nil
}

func (a *Auth) decode(b []byte) *Error {
	var raw [3][]byte
	bad := decodeFields(raw[:], "auth", b, "token", "client", "device")
	if bad != nil {
		return bad
	}
	token, client, device := raw[0], raw[1], raw[2]
	if len(token) > MaxTokenLength+len(`""`) {
		return newError(CodeTooLarge, "token is too long")
	}
	if token != nil {
		var t string // not a.Token: its address would put every request on the heap
		if token[0] != '"' || json.Unmarshal(token, &t) != nil {
			return newError(CodeBadRequest, "token must be a string")
		}
		a.Token = t
	}
	if a.Token == "" && client == nil {
		return newError(CodeBadRequest, "auth needs token")
	}
	if client != nil {
		id, err := decodeClientID(client)
		if err != nil {
			return newError(CodeBadRequest, "client: "+err.Error())
		}
		a.Client = id
	}
	if device != nil {
		id, err := decodeClientID(device)
		if err != nil {
			return newError(CodeBadRequest, "device: "+err.Error())
		}
		a.Device = string(id)
	}
	return nil
}

var errNotString = errors.New("must be a string")

// decodeClientID reads a JSON string that holds an id. The usual string has no escapes and costs one allocation.
func decodeClientID(raw []byte) (ClientID, error) {
	if raw[0] != '"' {
		return "", errNotString
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return ParseClientID(raw[1 : len(raw)-1])
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errNotString
	}
	return ParseClientID(s)
}

// AppendAuth appends an auth object and a line break to dst.
func AppendAuth(dst []byte, a Auth) []byte {
	var v struct {
		Auth struct {
			Token  string   `json:"token,omitempty"`
			Client ClientID `json:"client,omitempty"`
			Device string   `json:"device,omitempty"`
		} `json:"auth"`
	}
	v.Auth.Token, v.Auth.Client, v.Auth.Device = a.Token, a.Client, a.Device
	return appendJSON(dst, v)
}

// AppendSend appends a send object and a line break to dst. data must be one JSON value on one line; see [ValidData].
func AppendSend(dst []byte, id uint64, to ClientID, data []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `,"send":{"to":"`...)
	dst = append(dst, to...)
	dst = append(dst, `","data":`...)
	dst = append(dst, data...)
	return append(dst, "}}\n"...)
}

// AppendPing appends a ping object and a line break to dst: a client's or, over raw TCP, the server's.
func AppendPing(dst []byte) []byte { return append(dst, "{\"ping\":{}}\n"...) }

// appendJSON appends v and a line break. v is a type of this package, which always encodes.
func appendJSON(dst []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("contracts: " + err.Error())
	}
	return append(append(dst, b...), '\n')
}
