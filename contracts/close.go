package contracts

// Retry tells a client what to do after its connection was closed.
type Retry uint8

// What to do after a close.
const (
	RetryNever   Retry = iota // stop: connecting again will not help until the application changes something
	RetryBackoff              // connect again, with full jitter
	RetryLater                // connect again, but not within the first second
	RetryToken                // get a new token first
)

// CloseCode is a WebSocket close code that an edge sends.
type CloseCode int

// The close codes. README.md has the same table.
const (
	CloseNormal       CloseCode = 1000 // over
	CloseGoingAway    CloseCode = 1001 // over
	CloseProtocol     CloseCode = 1002 // not WebSocket
	CloseInvalidData  CloseCode = 1007 // a text frame that is not UTF-8
	ClosePolicy       CloseCode = 1008 // broke a rule
	CloseTooBig       CloseCode = 1009 // a frame over the limit
	CloseInternal     CloseCode = 1011 // a fault of the server
	CloseRestart      CloseCode = 1012 // the node restarts: connect again
	CloseOverload     CloseCode = 1013 // the node is overloaded: connect again later
	CloseUnauthorized CloseCode = 4401 // no valid token, or it expired
	CloseForbidden    CloseCode = 4403 // the token does not allow to connect, or the application has ended the session
	CloseSlow         CloseCode = 4408 // did not read fast enough: connect again and resume
	CloseReplaced     CloseCode = 4409 // a newer session of the same client took over
	CloseRate         CloseCode = 4429 // went on after rate_limited
)

// Retry says what a client should do after this code. An unknown code, and a connection that broke without any, is
// [RetryBackoff].
func (c CloseCode) Retry() Retry {
	switch c {
	case CloseNormal, CloseGoingAway, CloseProtocol, CloseInvalidData, ClosePolicy, CloseTooBig, CloseForbidden, CloseReplaced:
		return RetryNever
	case CloseUnauthorized:
		return RetryToken
	case CloseOverload, CloseRate:
		return RetryLater
	}
	return RetryBackoff
}
