package contracts

// BackendAnswer is the answer to a request of a backend: one of the two.
type BackendAnswer struct {
	OK    any    `json:"ok,omitempty"` // of a type of this file
	Error *Error `json:"error,omitempty"`
}

// SendAnswer says that a message was delivered.
type SendAnswer struct {
	Status Outcome `json:"status"`
}

// PublishAnswer says to how many nodes a message to a group was sent.
type PublishAnswer struct {
	Status Outcome `json:"status"`
	Nodes  int     `json:"nodes"`
}

// BroadcastAnswer has one outcome for each recipient.
type BroadcastAnswer struct {
	Outcomes map[ClientID]Outcome `json:"outcomes"`
}

// PresenceAnswer says of each client that was asked for where it is now, in the order of the question.
type PresenceAnswer struct {
	Clients []ClientPresence `json:"clients"`
}

// ClientPresence is a client and its sessions: none if it is offline.
type ClientPresence struct {
	Client   ClientID        `json:"client"`
	Online   bool            `json:"online"`
	Sessions []SessionOnNode `json:"sessions"`
}

// SessionOnNode is one connection of a client.
type SessionOnNode struct {
	Session SessionID   `json:"session"`
	Node    NodeID      `json:"node"`
	Cluster ClusterName `json:"cluster"`
	Device  string      `json:"device,omitempty"`
	SinceMS int64       `json:"since_ms"` // milliseconds since 1970
}

// MembersAnswer is a page of the clients in a group.
type MembersAnswer struct {
	Members []ClientID `json:"members"`
	More    bool       `json:"more"` // there may be more after the last of them
}

// DisconnectAnswer says how many sessions were ended.
type DisconnectAnswer struct {
	Disconnected int `json:"disconnected"`
}

// TokenAnswer is a token and until when it is good, in seconds since 1970.
type TokenAnswer struct {
	Token     string `json:"token"`
	ExpiresAt int64  `json:"expires_at"`
}

// BatchAnswer has the answers to the operations of a batch, in their order.
type BatchAnswer struct {
	Results []BatchResult `json:"results"`
}

// BatchResult is the answer to one operation, with the HTTP status that it would have had alone.
type BatchResult struct {
	Status int `json:"status"`
	BackendAnswer
}
