package bench

import (
	"context"
	"net/netip"
)

// Driver speaks the protocol of one system. Its file is all that is needed to measure another.
type Driver interface {
	// Dial connects a client and returns when all that is sent from then on reaches it. ctx bounds that and nothing else.
	Dial(ctx context.Context, l Login) (Conn, error)
}

// Login says who connects, and where.
type Login struct {
	URL    string
	Client string     // its name: what others send to
	Token  string     // what proves it; empty where names are believed
	Group  string     // to be a member of; empty: none
	Source netip.Addr // address to connect from; the zero value leaves it to the system
	Quiet  bool       // it will say and hear next to nothing: small buffers will do
}

// Conn is a connected client. One goroutine reads, and at the same time one sends.
type Conn interface {
	// Send sends requests: together, if there are several and the protocol can. It returns when they are handed to the
	// system, and keeps nothing of them.
	Send(requests ...Request) error
	// Read waits until something arrives, and hands over all that came with it. It also does what keeps a connection
	// alive, such as answering pings. Its error is the end of the connection.
	Read(h Handler) error
	// Bye says that no more will be sent. What is on its way still arrives, up to the end of Read.
	Bye() error
	// Cut ends the connection at once. It is called once at the end of every connection.
	Cut() error
}

// Request is a message that somebody sends.
type Request struct {
	ID    uint64 // what its answer carries: counted up from 0 for each connection
	To    string // the recipient, or
	Group string // the group that it is published to
	Data  []byte // a JSON string with nothing in it that needs an escape
}

// Handler takes what arrives.
type Handler interface {
	// Message takes the data of a message. It is the handler's until it returns.
	Message(data []byte)
	// Answer takes what became of a request, in one word. [Delivered] and [Sent] are the good ones.
	Answer(id uint64, outcome string)
}

// The good outcomes, which a driver must call so; all others are the system's own words.
const (
	Delivered = "delivered" // to a client: written to one of its connections
	Sent      = "sent"      // to a group: on its way to all members
)
