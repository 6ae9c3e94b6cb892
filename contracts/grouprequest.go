package contracts

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
)

var groupOps = map[string]Op{"join": OpJoin, "leave": OpLeave, "publish": OpPublish}

// decodeGroup reads a request about a group.
func (r *Request) decodeGroup(op string, b []byte) *Error {
	r.Op = groupOps[op]
	if !r.HasID {
		return newError(CodeBadRequest, op+" needs an id")
	}
	fields := []string{"group", "data"}
	if r.Op != OpPublish {
		fields = fields[:1]
	}
	var raw [2][]byte
	bad := decodeFields(raw[:], op, b, fields...)
	if bad != nil {
		return bad
	}
	group := raw[0]
	r.Send.Data = raw[1]
	switch {
	case group == nil:
		return newError(CodeBadRequest, op+" needs group")
	case r.Op == OpPublish && r.Send.Data == nil:
		return newError(CodeBadRequest, "publish needs data")
	case bytes.IndexByte(r.Send.Data, '\n') >= 0:
		return newError(CodeBadRequest, "data has a line break: an object stands on one line")
	}
	id, err := decodeClientID(group) // the alphabet is the same
	if err != nil {
		return newError(CodeBadRequest, "group: "+err.Error())
	}
	r.Group = GroupName(id)
	return nil
}

// decodeClients reads a request about several clients.
func (r *Request) decodeClients(op string, b []byte) *Error {
	if !r.HasID {
		return newError(CodeBadRequest, op+" needs an id")
	}
	var raw [1][]byte
	bad := decodeFields(raw[:], op, b, "clients")
	if bad != nil {
		return bad
	}
	var names []string // a rare request: encoding/json may read it, within the bound of the frame
	if raw[0] == nil || json.Unmarshal(raw[0], &names) != nil {
		return newError(CodeBadRequest, op+" needs clients, a list of ids")
	}
	if len(names) == 0 || len(names) > MaxWatch {
		return newError(CodeBadRequest, op+" takes from 1 to "+strconv.Itoa(MaxWatch)+" clients at a time")
	}
	for _, n := range names {
		id, err := ParseClientID(n)
		if err != nil {
			return newError(CodeBadRequest, "clients: "+err.Error())
		}
		if !slices.Contains(r.Clients, id) {
			r.Clients = append(r.Clients, id)
		}
	}
	return nil
}

// defaultMembers is how many a members request gets that does not say.
const defaultMembers = 100

func (r *Request) decodeMembers(b []byte) *Error {
	if !r.HasID {
		return newError(CodeBadRequest, "members needs an id")
	}
	var raw [3][]byte
	bad := decodeFields(raw[:], "members", b, "group", "after", "limit")
	if bad != nil {
		return bad
	}
	group, after, limit := raw[0], raw[1], raw[2]
	if group == nil {
		return newError(CodeBadRequest, "members needs group")
	}
	id, err := decodeClientID(group)
	if err != nil {
		return newError(CodeBadRequest, "group: "+err.Error())
	}
	r.Members = MembersQuery{Group: GroupName(id), Limit: defaultMembers}
	if after != nil {
		if r.Members.After, err = decodeClientID(after); err != nil {
			return newError(CodeBadRequest, "after: "+err.Error())
		}
	}
	if limit != nil {
		n, err := strconv.Atoi(string(limit))
		if err != nil || n < 1 || n > MaxMembers {
			return newError(CodeBadRequest, "limit must be an integer from 1 to "+strconv.Itoa(MaxMembers))
		}
		r.Members.Limit = n
	}
	return nil
}

// AppendGroup appends a join or a leave object and a line break to dst.
func AppendGroup(dst []byte, id uint64, op Op, g GroupName) []byte {
	name := "join"
	if op == OpLeave {
		name = "leave"
	}
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	return append(dst, `,"`+name+`":{"group":"`+string(g)+"\"}}\n"...)
}

// AppendPublish appends a publish object and a line break to dst; see [AppendSend].
func AppendPublish(dst []byte, id uint64, g GroupName, data []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `,"publish":{"group":"`...)
	dst = append(dst, g...)
	dst = append(dst, `","data":`...)
	dst = append(dst, data...)
	return append(dst, "}}\n"...)
}

// AppendWatch appends a watch or an unwatch object and a line break to dst.
func AppendWatch(dst []byte, id uint64, op Op, clients []ClientID) []byte {
	type list struct {
		Clients []ClientID `json:"clients"`
	}
	v := struct {
		ID      uint64 `json:"id"`
		Watch   *list  `json:"watch,omitempty"`
		Unwatch *list  `json:"unwatch,omitempty"`
	}{ID: id}
	if op == OpUnwatch {
		v.Unwatch = &list{clients}
	} else {
		v.Watch = &list{clients}
	}
	return appendJSON(dst, v)
}
