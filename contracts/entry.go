package contracts

import "time"

// Entry is what the directory holds for one session of a client. It counts only while the lease of its node carries
// the same epoch.
type Entry struct {
	Session SessionID
	Node    NodeID
	Epoch   Epoch
	Device  string // what the client called its device; may be empty
	Since   time.Time
}
