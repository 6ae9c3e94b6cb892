package contracts

import (
	"encoding/binary"
	"strconv"
)

// MembersQuery asks for a page of the clients that are in a group: those whose ids come after After in the order of bytes,
// at most Limit. Its zero After asks from the start.
type MembersQuery struct {
	Group GroupName
	After ClientID
	Limit int // 1 to [MaxMembers]
}

// AppendData appends the query, without the group, as it stands in a node record.
func (q MembersQuery) AppendData(dst []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(q.Limit)), q.After...)
}

// ReadMembersQuery reads what [MembersQuery.AppendData] wrote.
func ReadMembersQuery(g GroupName, data []byte) (MembersQuery, bool) {
	limit, n := binary.Uvarint(data)
	if n <= 0 || limit < 1 || limit > MaxMembers {
		return MembersQuery{}, false
	}
	q := MembersQuery{Group: g, Limit: int(limit)}
	if after := data[n:]; len(after) > 0 {
		id, err := ParseClientID(after)
		if err != nil {
			return MembersQuery{}, false
		}
		q.After = id
	}
	return q, true
}

// AppendNames appends a list of clients as it stands in the node record that answers a [MembersQuery].
func AppendNames(dst []byte, names []ClientID) []byte {
	for _, n := range names {
		dst = append(append(dst, byte(len(n))), n...)
	}
	return dst
}

// ReadNames reads what [AppendNames] wrote; ok is false for anything else, and for more than [MaxMembers].
func ReadNames(data []byte) (names []ClientID, ok bool) {
	for len(data) > 0 {
		n := int(data[0])
		if n >= len(data) || len(names) == MaxMembers {
			return nil, false
		}
		id, err := ParseClientID(data[1 : 1+n])
		if err != nil {
			return nil, false
		}
		names = append(names, id)
		data = data[1+n:]
	}
	return names, true
}

// AppendMembers appends a members object and a line break to dst.
func AppendMembers(dst []byte, id uint64, q MembersQuery) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `,"members":{"group":"`+string(q.Group)+`"`...)
	if q.After != "" {
		dst = append(dst, `,"after":"`+string(q.After)+`"`...)
	}
	dst = append(dst, `,"limit":`...)
	dst = strconv.AppendInt(dst, int64(q.Limit), 10)
	return append(dst, "}}\n"...)
}

// AppendPage appends the answer to a members request, and a line break, to dst.
func AppendPage(dst []byte, id uint64, members []ClientID, more bool) []byte {
	dst = append(appendID(dst, id, true), `"ok":{"members":[`...)
	dst = appendList(dst, members)
	dst = append(dst, ']')
	if more {
		dst = append(dst, `,"more":true`...)
	}
	return append(dst, "}}\n"...)
}
