package contracts

// Outcome is the end of a message at its sender's edge. Every message that an edge reads ends in exactly one, and the
// counts of all outcomes add up to the messages read.
type Outcome string

// The outcomes.
const (
	Delivered   Outcome = "delivered"    // written to at least one of the recipient's connections
	Sent        Outcome = "sent"         // of a publish: sent to the nodes that have members
	Offline     Outcome = "offline"      // the recipient has no session
	Unknown     Outcome = "unknown"      // no answer within the deadline
	Unavailable Outcome = "unavailable"  // refused here: a queue is full, NATS or Redis is away, the node is stopping
	RateLimited Outcome = "rate_limited" // refused here: the sender is over its rate
	Forbidden   Outcome = "forbidden"    // refused here: the sender's token does not allow it
	BadRequest  Outcome = "bad_request"  // refused here: not a message of the protocol
)

// Outcomes lists them all, for whoever counts.
var Outcomes = []Outcome{Delivered, Sent, Offline, Unknown, Unavailable, RateLimited, Forbidden, BadRequest}

// Status is what a node answers to a message that another node sent to it.
type Status uint8

// The statuses, as they stand in a bundle.
const (
	StatusDelivered Status = 1 // written to at least one connection
	StatusNotHere   Status = 2 // no session of this client is on this node: nothing was written
	StatusUnsure    Status = 3 // the connection broke during the write
	StatusOverload  Status = 4 // refused: the sessions' queues are full, nothing was written
	// The next ones are never on a wire: the sender's own node makes them.

	StatusNobody      Status = 5 // nobody listens on the node's subject: nothing was written
	StatusTimeout     Status = 6 // no answer within the deadline
	StatusUnavailable Status = 7 // not sent: disconnected from NATS, or too many messages in flight
)

// String returns the status as a word.
func (s Status) String() string {
	switch s {
	case StatusDelivered:
		return "delivered"
	case StatusNotHere:
		return "not_here"
	case StatusUnsure:
		return "unsure"
	case StatusOverload:
		return "overload"
	case StatusNobody:
		return "nobody"
	case StatusTimeout:
		return "timeout"
	case StatusUnavailable:
		return "unavailable"
	}
	return "invalid"
}
