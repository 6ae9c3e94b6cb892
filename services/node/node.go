// Package node wires broker, presence, token and edge into one process: one node of a cluster. It is the only package
// that knows both sides of their interfaces. The node that a test runs is the node that ships: both come from [Start].
package node

import "context"

// Node is a running node. Its methods are safe for concurrent use.
type Node struct{}

// Start validates the configuration, connects to NATS and Redis, takes the node's lease, and serves clients. It returns when
// clients can connect. An error says what is wrong and what to do; nothing is left running then.
func Start(ctx context.Context, cfg Config) (*Node, error) { panic("being written") }

// URL is the WebSocket address for clients, with the port in use.
func (n *Node) URL() string { return "" }

// AdminURL is the http address of the admin listener, or "".
func (n *Node) AdminURL() string { return "" }

// Done is closed when the node cannot go on by itself (its lease was lost to another process, or its listener failed), and Err says why.
func (n *Node) Done() <-chan struct{} { return nil }

// Err is nil until Done is closed.
func (n *Node) Err() error { return nil }

// Stop drains the node: not ready, no new connections, clients are told to move over DrainTime, records removed, connections closed.
// It returns when all has ended, or at the latest when ctx or DrainTime plus StopTime is over; a second call returns at once.
func (n *Node) Stop(ctx context.Context) error { return nil }
