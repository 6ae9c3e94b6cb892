package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// CallOptions change how a call is made; the zero value changes nothing.
type CallOptions struct {
	// Key says which calls belong together: those with one key go to one instance of the service.
	Key contracts.CallKey
	// Timeout is how long the service may take, in whole milliseconds, at most contracts.MaxCallTimeout. Zero: as the server says.
	// Options.AnswerTime bounds it, too.
	Timeout time.Duration
	// Idempotent says that to carry the call out twice does no harm: it is tried again when the instance that had it dies.
	Idempotent bool
}

// Call calls a backend service, and waits for its answer. The error is a [contracts.Error] when the server or the service says why
// not: with its Unsure, and with the code timeout, the call may have been carried out. Other errors are those of [Client.Send].
//
// It must not be called from the callback of [Client.SendAsync].
func (c *Client) Call(ctx context.Context, service contracts.ServiceName, data json.RawMessage, o CallOptions) (json.RawMessage, error) {
	r, err := c.do(ctx, callRequest(service, data, o))
	return r.answer(), err
}

// CallAsync is to [Client.Call] what [Client.SendAsync] is to [Client.Send].
func (c *Client) CallAsync(service contracts.ServiceName, data json.RawMessage, o CallOptions, done func(json.RawMessage, error)) error {
	_, err := c.enqueue(callRequest(service, data, o), func(r Result, err error) { done(r.answer(), err) })
	return err
}

func callRequest(service contracts.ServiceName, data json.RawMessage, o CallOptions) *contracts.Request {
	return &contracts.Request{Op: contracts.OpCall, Call: &contracts.Call{
		Service: service, Key: o.Key, Data: data, Timeout: o.Timeout, Idempotent: o.Idempotent,
	}}
}

// checkCall says what is wrong with a call.
func checkCall(c contracts.Call) error {
	if _, err := contracts.ParseServiceName(c.Service); err != nil {
		return fmt.Errorf("service: %w", err)
	}
	if c.Key != "" {
		if _, err := contracts.ParseCallKey(c.Key); err != nil {
			return fmt.Errorf("key: %w", err)
		}
	}
	if c.Timeout < 0 || c.Timeout > contracts.MaxCallTimeout || c.Timeout%time.Millisecond != 0 {
		return errTimeout
	}
	if !contracts.ValidData(c.Data) {
		return ErrInvalidData
	}
	return nil
}

var errTimeout = errors.New("timeout: it must be in whole milliseconds, and not more than contracts.MaxCallTimeout")

// answer is what a call was answered with; nil if there is none.
func (r Result) answer() json.RawMessage {
	if r.data == nil {
		return nil
	}
	return *r.data
}
