package edge

import (
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Sessions says how many sessions a client may have at a time.
type Sessions string

// The session policies.
const (
	SessionsMany   Sessions = "many"   // any number; each gets every message
	SessionsSingle Sessions = "single" // one: a newer session ends the older, with contracts.CloseReplaced
)

// Config holds the limits, times and policies of an edge. Start from [DefaultConfig].
type Config struct {
	Origins  []string // allowed Origin headers, exact (`https://app.example.org`); `*` allows all. A client without one is no browser
	Sessions Sessions

	MaxFrame     int // largest frame from a client, in bytes
	MaxSessions  int // connections that the node takes at a time; more get 503
	MaxPerClient int // sessions of one client; one more is refused
	MaxAnonymous int // of these, how many may not have logged in yet
	QueueBytes   int // what may wait for one session to read it, in bytes; over it the session ends with contracts.CloseSlow
	WaitingBytes int // what may wait for lookups on the whole node, in bytes; over it a send is unavailable
	Routes       int // addresses of which the node remembers where they are
	Groups       int // that one session may be in
	Watches      int // clients whose presence one session may watch
	InFlight     int // unanswered messages of one session; over it a send is rate_limited
	Calls        int // unanswered calls of one session; over it a call is rate_limited

	AuthTimeout time.Duration // from the connection to a valid auth
	Heartbeat   time.Duration // between pings to a client; one that does not answer within a fifth more is cut off
	AckTimeout  time.Duration // for another node's answer; after it the outcome is unknown
	Linger      time.Duration // how long a client must be gone before its watchers are told; a reconnect within it is no news
	WriteTime   time.Duration // for one write to a client; after it the connection is cut

	MessageRate  float64 // requests per second and session; 0: no limit
	MessageBurst int
	ByteRate     float64 // bytes per second and session; 0: no limit
	ByteBurst    int
	RateStrikes  int // requests refused, less those allowed, after which the session ends with contracts.CloseRate
}

// DefaultConfig returns the settings of a production edge.
func DefaultConfig() Config {
	return Config{
		Sessions:     SessionsMany,
		MaxFrame:     contracts.DefaultMaxFrame,
		MaxSessions:  100_000,
		MaxPerClient: 64,
		MaxAnonymous: 1_000,
		QueueBytes:   1 << 20,
		WaitingBytes: 64 << 20,
		Routes:       200_000,
		Groups:       100,
		Watches:      1000,
		InFlight:     1024,
		Calls:        256,
		AuthTimeout:  5 * time.Second,
		Heartbeat:    contracts.DefaultHeartbeat,
		AckTimeout:   250 * time.Millisecond,
		Linger:       3 * time.Second,
		WriteTime:    10 * time.Second,
		MessageRate:  200,
		MessageBurst: 1000,
		ByteRate:     1 << 20,
		ByteBurst:    4 << 20,
		RateStrikes:  1000,
	}
}

// Validate tells in one sentence what is wrong.
func (c *Config) Validate() error {
	switch {
	case c.Sessions != SessionsMany && c.Sessions != SessionsSingle:
		return fmt.Errorf("sessions must be %s or %s", SessionsMany, SessionsSingle)
	case c.MaxFrame < 1024 || c.MaxFrame > contracts.MaxMaxFrame:
		return fmt.Errorf("max-frame must be from 1024 to %d bytes", contracts.MaxMaxFrame)
	case c.QueueBytes < c.MaxFrame:
		return fmt.Errorf("queue-bytes must be at least max-frame (%d)", c.MaxFrame)
	case c.MaxSessions < 1 || c.MaxAnonymous < 1 || c.MaxPerClient < 1 || c.Routes < routeParts || c.Groups < 0 || c.Watches < 0 || c.Linger < 0 || c.WaitingBytes < c.MaxFrame || c.InFlight < 1 || c.Calls < 1 || c.RateStrikes < 1:
		return fmt.Errorf("max-sessions, max-per-client, max-anonymous, in-flight, max-calls and rate-strikes must be positive, routes at least 16, max-groups, max-watches and linger not negative, waiting-bytes at least max-frame")
	case c.AuthTimeout <= 0 || c.Heartbeat < time.Second || c.AckTimeout <= 0 || c.WriteTime <= 0:
		return fmt.Errorf("auth-timeout, ack-timeout and write-time must be positive, heartbeat at least 1s")
	case c.MessageRate < 0 || c.ByteRate < 0 || c.MessageBurst < 1 || c.ByteBurst < c.MaxFrame:
		return fmt.Errorf("rates must not be negative, message-burst at least 1, byte-burst at least max-frame")
	}
	return nil
}
