package contracts

import "time"

// Peer is one start of a node: a process that is restarted under the same id is another.
type Peer struct {
	Node  NodeID
	Epoch Epoch
}

// Entry is what the directory holds for one session of a client. It counts only while the lease of its node carries
// the same epoch.
type Entry struct {
	Session SessionID
	Node    NodeID
	Epoch   Epoch
	Device  string // what the client called its device; may be empty
	Since   time.Time
}
