package contracts

import (
	"encoding/json"
	"errors"
	"strings"
)

// ConnectionRequest is the body of `POST /v1/connections`: somebody asks the registry how a client is to connect.
type ConnectionRequest struct {
	Client ClientID     // empty: whoever the token is for
	Key    PlacementKey // empty: the registry chooses
	Class  string       // kind of request, by which the registry chooses how; empty: the default
	Zone   Zone         // where the client is; empty: not known

	Transport Transport // what the client connects over; empty: [WebSocket]
}

// Transport is what carries the frames between a client and a server.
type Transport string

// The transports.
const (
	WebSocket Transport = "websocket" // addresses are ws:// and wss://
	RawTCP    Transport = "tcp"       // addresses are tcp:// and tls://
)

// TransportOf tells by its scheme which transport an address is for. That it is one is for [CheckNodeURL] or [CheckNodeTCP] to say.
func TransportOf(address string) Transport {
	if strings.HasPrefix(address, "tcp://") || strings.HasPrefix(address, "tls://") {
		return RawTCP
	}
	return WebSocket
}

// ParseTransport checks the name of a transport that came from outside.
func ParseTransport(s string) (Transport, error) {
	if t := Transport(s); t == WebSocket || t == RawTCP {
		return t, nil
	}
	return "", errors.New("it is websocket or tcp")
}

// Connection is the answer: addresses to connect to, each with a ticket in it, and for how long they are good.
type Connection struct {
	Client     ClientID   `json:"client"`
	Primary    Endpoint   `json:"primary"`
	Alternates []Endpoint `json:"alternates"` // to be tried in this order when the ones before do not take the connection
	ExpiresAt  int64      `json:"expires_at"` // when the addresses are no longer good: seconds since 1970
	ExpiresIn  int        `json:"expires_in_s"`
	Backoff    Backoff    `json:"backoff"`
}

// Endpoint is one address to connect to.
type Endpoint struct {
	URL     string      `json:"url"`
	Cluster ClusterName `json:"cluster"` // where the ticket in it leads
}

// Backoff says how long to wait between attempts: each time as long as chance says, up to a bound that begins with First
// for the first and doubles from Base to Cap for those after it.
type Backoff struct {
	FirstMS int64 `json:"first_ms"`
	BaseMS  int64 `json:"base_ms"`
	CapMS   int64 `json:"cap_ms"`
}

// MaxClass bounds the name of a request class, which has the alphabet of a node id.
const MaxClass = MaxNodeIDLength

// DecodeConnectionRequest reads the body of a request. An empty one asks for all defaults. Like [DecodeRequest], it is
// strict: nothing unknown, nothing twice. The error is nil or what the caller should be told.
func DecodeConnectionRequest(body []byte) (ConnectionRequest, *Error) {
	var req ConnectionRequest
	start := skipSpace(body, 0)
	if start == len(body) {
		return req, nil
	}
	var members [maxMembers]member
	n, end := scanObject(body, start, members[:])
	if end < 0 || skipSpace(body, end) != len(body) {
		return req, newError(CodeBadRequest, "the body is not one JSON object")
	}
	if n > len(members) {
		return req, newError(CodeBadRequest, "too many members: "+connectionMembers)
	}
	seen := map[string]bool{}
	for _, m := range members[:n] {
		name := string(m.name)
		if seen[name] {
			return ConnectionRequest{}, newError(CodeBadRequest, "a member is there twice")
		}
		seen[name] = true
		if err := req.decode(name, m.value); err != nil {
			return ConnectionRequest{}, err
		}
	}
	return req, nil
}

func (r *ConnectionRequest) decode(name string, raw []byte) *Error {
	switch name {
	case "client", "key", "class", "zone", "transport":
	default:
		return newError(CodeBadRequest, "unknown member: "+connectionMembers)
	}
	var text string
	if len(raw) > maxEscaped || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return newError(CodeBadRequest, name+" must be a string of at most 128 bytes")
	}
	var err error
	switch name {
	case "client":
		r.Client, err = ParseClientID(text)
	case "key":
		r.Key, err = ParsePlacementKey(text)
	case "class":
		r.Class, err = ParseClass(text)
	case "zone":
		r.Zone, err = ParseZone(text)
	case "transport":
		r.Transport, err = ParseTransport(text)
	}
	if err != nil {
		return newError(CodeBadRequest, name+": "+err.Error())
	}
	return nil
}

const connectionMembers = "there are client, key, class, zone and transport"

// maxEscaped is how long an id can be in JSON: each byte six, and the quotes.
const maxEscaped = 6*MaxIDLength + 2

// ParseClass checks the name of a request class.
func ParseClass(s string) (string, error) { return s, checkID(s, &nodeBytes, MaxClass) }
