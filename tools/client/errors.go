package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Errors of [Client.Send], [Client.Publish], [Client.Join], [Client.Watch] and their like that do not come from the server. Those that may
// say something of the fate of a message come in a [SendError].
var (
	ErrDisconnected = errors.New("disconnected")                            // there is no connection, or it broke
	ErrClosed       = errors.New("the client is closed")                    // by Close, or for good by the server
	ErrNoAnswer     = errors.New("no answer from the server in time")       // see Options.AnswerTime
	ErrBusy         = errors.New("too many requests without an answer yet") // see Options.MaxPending and MaxQueue
	ErrInvalidData  = errors.New("data must be one JSON value on one line") // see contracts.ValidData
	ErrTooLarge     = errors.New("the message is larger than a frame")      // see Options.MaxFrame
	errStalled      = errors.New("the handler did not keep up")             // reconnects
	errSubprotocol  = errors.New("the server does not speak " + contracts.Subprotocol)
	errBinary       = errors.New("the server sent a binary frame")
	errNotReady     = errors.New("connected, but not logged in within the time to connect")
	errNotJoined    = errors.New("connected, but not in its groups again within the time to connect")
	errNotWatching  = errors.New("connected, but not watching again within the time to connect")
	errStuck        = errors.New("could not write")
)

// SendError is the one result of a request that has no answer from the server.
type SendError struct {
	Written bool  // it was written, or may have been: the message may or may not arrive
	Err     error // ErrDisconnected, ErrClosed, ErrNoAnswer, or the error of the caller's context
}

// Error returns the cause and what it means for the message.
func (e *SendError) Error() string {
	if e.Written {
		return e.Err.Error() + ": the message may or may not arrive"
	}
	return e.Err.Error() + ": the message was not sent"
}

// Unwrap returns the cause.
func (e *SendError) Unwrap() error { return e.Err }

// MayHaveArrived tells whether a message whose Send or Publish returned err may have reached its recipients all the same, or a call
// may have been carried out: nobody knows. For every other error it has not, and may be sent again without arriving twice.
func MayHaveArrived(err error) bool {
	var (
		sendErr *SendError
		answer  *contracts.Error
	)
	switch {
	case errors.As(err, &sendErr):
		return sendErr.Written
	case errors.As(err, &answer):
		return answer.Unsure || answer.Code == contracts.CodeUnknown || answer.Code == contracts.CodeInternal
	}
	return false
}

// CloseError says that the server closed the connection, and why.
type CloseError struct {
	Code   contracts.CloseCode
	Reason string // for people
}

// Error returns the code and the reason.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("closed by the server with code %d", e.Code)
	}
	return fmt.Sprintf("closed by the server with code %d: %s", e.Code, e.Reason)
}

// RefusedError says that the server, or what stands before it, refused the connection with an HTTP status.
type RefusedError struct {
	Status     int
	Reason     string        // the start of the answer's body, for people
	RetryAfter time.Duration // 0: not said
}

// Error returns the status and the reason.
func (e *RefusedError) Error() string {
	text := fmt.Sprintf("refused by the server with status %d %s", e.Status, http.StatusText(e.Status))
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// retry says what to do after this answer, as [contracts.CloseCode.Retry] does after a close.
func (e *RefusedError) retry() contracts.Retry {
	switch {
	case e.Status == http.StatusUnauthorized:
		return contracts.RetryToken
	case e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests:
		return contracts.RetryLater
	case e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooEarly || e.Status >= 500:
		return contracts.RetryBackoff
	}
	return contracts.RetryNever
}

// refused makes a RefusedError of an answer that is no upgrade.
func refused(answer *http.Response) error {
	e := &RefusedError{Status: answer.StatusCode}
	start, _ := io.ReadAll(io.LimitReader(answer.Body, 256))
	var said contracts.Error // a registry's
	if json.Unmarshal(start, &said) == nil && said.Message != "" {
		start = []byte(said.Message)
	}
	e.Reason = strings.TrimSpace(strings.ToValidUTF8(string(start), "?"))
	if seconds, err := strconv.ParseUint(answer.Header.Get("Retry-After"), 10, 16); err == nil {
		e.RetryAfter = min(time.Duration(seconds)*time.Second, time.Hour)
	}
	return e
}
