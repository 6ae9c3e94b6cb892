package client

import (
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// State is that of a client's connection.
type State uint8

// The states. A client goes from Connecting to Online or Offline, from both back to Connecting, and from any to Closed.
const (
	Connecting State = iota // an attempt is under way
	Online                  // ready, in its groups, and watching: messages go both ways
	Offline                 // waits before the next attempt
	Closed                  // for good
)

// String returns the state as a word.
func (s State) String() string {
	switch s {
	case Connecting:
		return "connecting"
	case Online:
		return "online"
	case Offline:
		return "offline"
	case Closed:
		return "closed"
	}
	return "invalid"
}

// StateChange is what Options.OnState is told.
type StateChange struct {
	State   State
	Ready   contracts.Ready // of Online: who and where this client is now
	Err     error           // of Offline and Closed: why. Of Online: which of its groups it is not in again, or whom it does not watch, and why; or nil
	RetryIn time.Duration   // of Offline: when the next attempt is
}

// State returns the state of the connection now.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Ready returns what the server said when this client last came online.
func (c *Client) Ready() contracts.Ready {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready
}

// Done is closed when the client has stopped for good: by [Client.Close], or because the server said something after which
// connecting again does not help. [Client.Err] then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil until the client has stopped for good, then why: it is [ErrClosed] and, unless Close was called, also
// what the server said, for instance a [CloseError].
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// tell tells the application of a change. Only run calls it.
func (c *Client) tell(s StateChange) {
	if c.opts.OnState != nil {
		c.opts.OnState(s)
	}
}
