package contracts

import "time"

// Limits that both ends of a wire know. What an operator may change is in the configuration of the edge.
const (
	// MaxIDLength bounds client ids and group names, in bytes.
	MaxIDLength = 128
	// MaxNodeIDLength bounds node ids and cluster names, in bytes.
	MaxNodeIDLength = 32
	// SessionIDLength is the length of a session id, in hexadecimal digits.
	SessionIDLength = 32
	// MaxTokenLength bounds a login token, in bytes; a longer one is refused before it is looked at.
	MaxTokenLength = 8 << 10
	// MaxRequestID is the largest `id` of a request: 2^53-1, what every JSON library can hold.
	MaxRequestID = 1<<53 - 1
	// MaxWatch bounds the clients that one watch or unwatch names.
	MaxWatch = 256
	// MaxMembers bounds the page that a members request asks for.
	MaxMembers = 1000
	// MaxDepth bounds how deeply `data` may nest. It is what keeps a recursive reader on the other side alive.
	MaxDepth = 128
	// DefaultMaxFrame bounds a frame from a client, in bytes.
	DefaultMaxFrame = 64 << 10
	// MaxMaxFrame is the largest bound that may be configured: a frame must fit into a bundle, and a bundle into the
	// 1 MiB that NATS carries by default.
	MaxMaxFrame = 512 << 10
	// MaxPresenceQuery bounds the addresses that one question to another cluster names.
	MaxPresenceQuery = 512
	// MaxBundle bounds what one node message carries, in bytes.
	MaxBundle = 1<<20 - 4096
	// MaxTicketQuery bounds a ticket as it stands in a URL, in bytes.
	MaxTicketQuery = 384
	// MaxLoad bounds a load report, MaxNodeURL and MaxNodeTCP the addresses in it, in bytes. MaxWeight is the largest weight of
	// a node.
	MaxLoad    = 512
	MaxNodeURL = 256
	MaxNodeTCP = 128
	MaxWeight  = 100
	// MaxErrorMessage bounds the text of an error that a backend answers with, in bytes.
	MaxErrorMessage = 1024
	// Shards is the number of subjects on which a node is reached. Each is worked off by a goroutine of its own; an
	// address always has the same, which keeps the order per recipient.
	Shards = 4
)

// Times of the client protocol and of the lease.
const (
	// DefaultHeartbeat is how often an edge pings a client.
	DefaultHeartbeat = 25 * time.Second
	// MaxCallTimeout is the longest that a client may have a call wait for its answer.
	MaxCallTimeout = time.Minute
	// LeaseTTL is how long a node counts as alive after it last renewed its lease.
	LeaseTTL = 5 * time.Second
	// LeaseRenewal is how often a node renews its lease: three tries fit into a TTL.
	LeaseRenewal = 1500 * time.Millisecond
	// TicketLife is how long a ticket is good. TicketSkew is how far the clocks of who signs it and who reads it may be
	// apart before one that is good looks as if it lived too long.
	TicketLife = time.Minute
	TicketSkew = 30 * time.Second
	// WatchTTL is how long a node that looked an address up is told of its changes, and so the longest that it may keep
	// the answer. Short, because it bounds the harm when it could not be told.
	WatchTTL = 30 * time.Second
)

// Subprotocol is the WebSocket subprotocol of version 1: JSON text frames.
const Subprotocol = "beeline.v1.json"

// TokenSubprotocolPrefix starts the subprotocol entry in which a browser, which cannot set headers, hands over its token.
// The server never answers with that entry.
const TokenSubprotocolPrefix = "beeline.token."
