package contracts

import (
	"bytes"
	"strconv"
	"time"
)

// ServiceName names a backend service that clients call; the alphabet and bound are those of [NodeID].
type ServiceName string

// InstanceID names one instance of a service, its own within it; the alphabet and bound are those of [NodeID].
type InstanceID string

// CallKey says which calls belong together: those with one key go to one instance. The alphabet and bound are those of a
// [ClientID], so that it can stand anywhere as it is.
type CallKey string

// ParseServiceName checks the name of a service that came from outside.
func ParseServiceName[T ~string | ~[]byte](s T) (ServiceName, error) {
	if err := checkID(s, &nodeBytes, MaxNodeIDLength); err != nil {
		return "", err
	}
	return ServiceName(s), nil
}

// ParseInstanceID checks the id of an instance that came from outside.
func ParseInstanceID[T ~string | ~[]byte](s T) (InstanceID, error) {
	if err := checkID(s, &nodeBytes, MaxNodeIDLength); err != nil {
		return "", err
	}
	return InstanceID(s), nil
}

// ParseCallKey checks a key that came from outside.
func ParseCallKey[T ~string | ~[]byte](s T) (CallKey, error) {
	if err := checkID(s, &idBytes, MaxIDLength); err != nil {
		return "", err
	}
	return CallKey(s), nil
}

// Call is a request to a backend service.
type Call struct {
	Service    ServiceName
	Key        CallKey       // empty: a rule of the service's configuration may take one from Data
	Data       []byte        // one JSON value on one line, as the client wrote it
	Timeout    time.Duration // in whole milliseconds, at most [MaxCallTimeout]; zero: that of the service
	Idempotent bool          // to carry it out twice does no harm: it may be tried again where it may have been carried out
}

// decodeCall reads a call request.
func (r *Request) decodeCall(b []byte) *Error {
	if !r.HasID {
		return newError(CodeBadRequest, "call needs an id")
	}
	var raw [5][]byte
	bad := decodeFields(raw[:], "call", b, "service", "data", "key", "timeout_ms", "idempotent")
	if bad != nil {
		return bad
	}
	service, key := raw[0], raw[2]
	r.Call = &Call{Data: raw[1]}
	switch {
	case service == nil:
		return newError(CodeBadRequest, "call needs service")
	case r.Call.Data == nil:
		return newError(CodeBadRequest, "call needs data")
	case bytes.IndexByte(r.Call.Data, '\n') >= 0:
		return newError(CodeBadRequest, "data has a line break: an object stands on one line")
	}
	name, err := decodeClientID(service) // a larger alphabet
	if err == nil {
		r.Call.Service, err = ParseServiceName(name)
	}
	if err != nil {
		return newError(CodeBadRequest, "service: "+err.Error())
	}
	if key != nil {
		id, err := decodeClientID(key)
		if err != nil {
			return newError(CodeBadRequest, "key: "+err.Error())
		}
		r.Call.Key = CallKey(id)
	}
	return r.decodeCallRest(raw[3], raw[4])
}

func (r *Request) decodeCallRest(timeout, idempotent []byte) *Error {
	if timeout != nil {
		ms, err := strconv.ParseUint(string(timeout), 10, 32)
		if err != nil || ms < 1 || ms > uint64(MaxCallTimeout/time.Millisecond) {
			return newError(CodeBadRequest, "timeout_ms must be an integer from 1 to "+strconv.FormatInt(MaxCallTimeout.Milliseconds(), 10))
		}
		r.Call.Timeout = time.Duration(ms) * time.Millisecond
	}
	switch string(idempotent) {
	case "true":
		r.Call.Idempotent = true
	case "", "false":
	default:
		return newError(CodeBadRequest, "idempotent must be true or false")
	}
	return nil
}

// AppendCall appends a call object and a line break to dst. c.Data must be one JSON value on one line; see [ValidData].
func AppendCall(dst []byte, id uint64, c Call) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `,"call":{"service":"`...)
	dst = append(dst, c.Service...)
	if c.Key != "" {
		dst = append(dst, `","key":"`...)
		dst = append(dst, c.Key...)
	}
	dst = append(dst, `","data":`...)
	dst = append(dst, c.Data...)
	if c.Timeout > 0 {
		dst = append(dst, `,"timeout_ms":`...)
		dst = strconv.AppendInt(dst, c.Timeout.Milliseconds(), 10)
	}
	if c.Idempotent {
		dst = append(dst, `,"idempotent":true`...)
	}
	return append(dst, "}}\n"...)
}

// AppendAnswered appends the answer to a call, and a line break, to dst. data is what [ReadAnswer] returned.
func AppendAnswered(dst []byte, id uint64, data []byte) []byte {
	dst = appendID(dst, id, true)
	dst = append(dst, `"ok":{"data":`...)
	dst = append(dst, data...)
	return append(dst, "}}\n"...)
}

// CallOutcome is the end of a call at its client's edge. Every call that an edge reads ends in exactly one.
type CallOutcome string

// The outcomes of calls.
const (
	CallAnswered    CallOutcome = "answered"     // the backend answered with data
	CallFailed      CallOutcome = "failed"       // the backend answered with an error
	CallGarbage     CallOutcome = "garbage"      // the backend answered with what is no answer, or too large
	CallOverflow    CallOutcome = "overflow"     // the backend answered, and too much waited for the client to read already
	CallTimeout     CallOutcome = "timeout"      // no answer in time: it may have been carried out
	CallLost        CallOutcome = "lost"         // the instance that had it died: it may have been carried out
	CallUnavailable CallOutcome = "unavailable"  // no instance took it: it was not carried out
	CallRateLimited CallOutcome = "rate_limited" // refused here: too many at a time
	CallForbidden   CallOutcome = "forbidden"    // refused here: the token does not allow it
	CallBadRequest  CallOutcome = "bad_request"  // refused here: not a call of the protocol, or its key cannot be told
)

// CallOutcomes lists them all, for whoever counts.
var CallOutcomes = []CallOutcome{
	CallAnswered, CallFailed, CallGarbage, CallOverflow, CallTimeout, CallLost, CallUnavailable, CallRateLimited, CallForbidden, CallBadRequest,
}
