package contracts

// Code is the machine-readable half of an error that a client gets.
type Code string

// The codes. README.md tells a client what to do about each.
const (
	CodeBadRequest   Code = "bad_request"  // the request is not of the protocol; sending it again will not help
	CodeUnauthorized Code = "unauthorized" // no token, or one that is not valid
	CodeForbidden    Code = "forbidden"    // the token does not allow this
	CodeOffline      Code = "offline"      // the recipient has no session, and the message was not durable
	CodeUnknown      Code = "unknown"      // no answer within the deadline: it may or may not have arrived
	CodeTooLarge     Code = "too_large"    // over a limit in bytes
	CodeRateLimited  Code = "rate_limited" // slow down
	CodeUnavailable  Code = "unavailable"  // this node cannot do it now; try again
	CodeTimeout      Code = "timeout"      // a backend did not answer in time
	CodeInternal     Code = "internal"     // a fault of the server
)

// Error is what a client is told when a request fails. The message is for people, safe to show, and never carries
// what another client sent.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Unsure says, of a call, that it may have been carried out all the same.
	Unsure bool `json:"unsure,omitempty"`
}

// Error returns the code and the message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// newError returns an error for a client.
func newError(c Code, message string) *Error { return &Error{Code: c, Message: message} }
