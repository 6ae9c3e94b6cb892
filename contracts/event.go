package contracts

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Event is one object of a frame from the server: an answer (ok or error, with the id of the request), or something
// that the server says of itself. Exactly one of its pointers is set.
type Event struct {
	ID     *uint64   `json:"id,omitempty"`
	Ready  *Ready    `json:"ready,omitempty"`
	Msg    *Msg      `json:"msg,omitempty"`
	OK     *OK       `json:"ok,omitempty"`
	Error  *Error    `json:"error,omitempty"`
	Pong   *struct{} `json:"pong,omitempty"`
	Moving *Moving   `json:"moving,omitempty"`

	Presence *Presence `json:"presence,omitempty"`

	// Over raw TCP only, where WebSocket has frames of its own for them.
	Ping  *struct{} `json:"ping,omitempty"`  // to be answered with a pong
	Close *Close    `json:"close,omitempty"` // the last object
}

// Presence says that a client that the session watches came online, or has gone offline.
type Presence struct {
	Client ClientID `json:"client"`
	Online bool     `json:"online"`
}

// Ready says that the session is registered: every message that anybody sends from now on reaches it.
type Ready struct {
	Client     ClientID    `json:"client"`
	Session    SessionID   `json:"session"`
	Node       NodeID      `json:"node"`
	Cluster    ClusterName `json:"cluster"`
	HeartbeatS int         `json:"heartbeat_s"` // the server pings this often; a client that hears nothing for two of them is cut off
}

// Msg is a message from another client. From is set by the server, from the sender's session.
type Msg struct {
	From  ClientID        `json:"from"`
	Group GroupName       `json:"group,omitempty"` // set when it was published to a group
	Data  json.RawMessage `json:"data"`
}

// OK answers a request that was carried out.
type OK struct {
	Status Outcome `json:"status,omitempty"`
	Nodes  int     `json:"nodes,omitempty"` // of a publish: how many nodes have members

	Online []ClientID `json:"online,omitempty"` // of a watch: which of the clients are online now

	Members []ClientID `json:"members,omitempty"` // of members: a page, in the order of their bytes
	More    bool       `json:"more,omitempty"`    // of members: there are more after the last of them

	Data json.RawMessage `json:"data,omitempty"` // of a call: what the backend answered
}

// Moving says that the node is about to close this connection with [CloseRestart]. URL is where to connect instead;
// empty means: where the client connected before.
type Moving struct {
	URL      string `json:"url,omitempty"`
	WithinMS int64  `json:"within_ms"`
}

// DecodeEvent reads one line of a frame from the server. Unknown members are passed over, so that an older client can
// talk to a newer server; an object with nothing known in it is returned empty.
func DecodeEvent(line []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}

// AppendReady appends a ready event and a line break to dst.
func AppendReady(dst []byte, r Ready) []byte { return appendJSON(dst, Event{Ready: &r}) }

// AppendMoving appends a moving event and a line break to dst.
func AppendMoving(dst []byte, m Moving) []byte { return appendJSON(dst, Event{Moving: &m}) }

// AppendPong appends the answer to a ping, and a line break, to dst.
func AppendPong(dst []byte, req Request) []byte {
	dst = appendID(dst, req.ID, req.HasID)
	return append(dst, "\"pong\":{}}\n"...)
}

// AppendOK appends an answer with a status, and a line break, to dst. It does not allocate beyond dst.
func AppendOK(dst []byte, id uint64, status Outcome) []byte {
	dst = appendID(dst, id, true)
	dst = append(dst, `"ok":{"status":"`...)
	dst = append(dst, status...)
	return append(dst, "\"}}\n"...)
}

// AppendSent appends the answer to a publish, and a line break, to dst.
func AppendSent(dst []byte, id uint64, nodes int) []byte {
	dst = appendID(dst, id, true)
	dst = append(dst, `"ok":{"status":"sent","nodes":`...)
	dst = strconv.AppendInt(dst, int64(nodes), 10)
	return append(dst, "}}\n"...)
}

// AppendOnline appends the answer to a watch, and a line break, to dst.
func AppendOnline(dst []byte, id uint64, online []ClientID) []byte {
	dst = append(appendID(dst, id, true), `"ok":{"online":[`...)
	return append(appendList(dst, online), "]}}\n"...)
}

// appendList appends the elements of a JSON array of ids, which need no escapes.
func appendList(dst []byte, ids []ClientID) []byte {
	for i, c := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), c...), '"')
	}
	return dst
}

// AppendPresence appends a presence event and a line break to dst.
func AppendPresence(dst []byte, c ClientID, online bool) []byte {
	return appendJSON(dst, Event{Presence: &Presence{Client: c, Online: online}})
}

// AppendDone appends the answer to a request that has no result, and a line break, to dst.
func AppendDone(dst []byte, id uint64) []byte {
	return append(appendID(dst, id, true), "\"ok\":{}}\n"...)
}

// AppendError appends an error and a line break to dst; with the id of the request that it answers, if it has one.
func AppendError(dst []byte, req Request, e *Error) []byte {
	dst = appendID(dst, req.ID, req.HasID)
	dst = append(dst, `"error":`...)
	dst = appendJSON(dst, e)
	dst[len(dst)-1] = '}' // in place of the line break
	return append(dst, '\n')
}

func appendID(dst []byte, id uint64, has bool) []byte {
	dst = append(dst, '{')
	if has {
		dst = append(dst, `"id":`...)
		dst = strconv.AppendUint(dst, id, 10)
		dst = append(dst, ',')
	}
	return dst
}

const (
	msgHead  = `{"msg":{"from":"`
	msgGroup = `","group":"`
	msgData  = `","data":`
	msgTail  = "}}\n"
)

// EncodeGroupMsg is [EncodeMsg] for a message to a group.
func EncodeGroupMsg(from ClientID, g GroupName, data []byte) []byte {
	b := make([]byte, 0, len(msgHead)+len(from)+len(msgGroup)+len(g)+len(msgData)+len(data)+len(msgTail))
	b = append(b, msgHead...)
	b = append(b, from...)
	b = append(b, msgGroup...)
	b = append(b, g...)
	b = append(b, msgData...)
	b = append(b, data...)
	return append(b, msgTail...)
}

// EncodeMsg returns a msg event with its line break: the bytes that every session of the recipient gets. It is made once,
// at the sender's edge. data is one that [DecodeRequest] returned.
func EncodeMsg(from ClientID, data []byte) []byte {
	b := make([]byte, 0, len(msgHead)+len(from)+len(msgData)+len(data)+len(msgTail))
	b = append(b, msgHead...)
	b = append(b, from...)
	b = append(b, msgData...)
	b = append(b, data...)
	return append(b, msgTail...)
}

// MsgOf returns the msg object in a frame of [EncodeMsg] or [EncodeGroupMsg], as a view of it.
func MsgOf(frame []byte) []byte { return frame[len(`{"msg":`) : len(frame)-len("}\n")] }
