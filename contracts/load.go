package contracts

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Load is what a node reports of itself beside its lease: whether clients should be sent to it, and where it is.
type Load struct {
	Users    int    // sessions that are logged in now
	Capacity int    // connections that it takes at a time
	Arrivals uint64 // sessions that have logged in since it started: how many came between two reports
	State    NodeState
	Weight   int    // 1 to [MaxWeight]: its share, next to that of the others
	Zone     Zone   // where it stands; may be empty
	URL      string // ws:// or wss:// address that clients and gateways connect to; empty: none that others could use
	TCP      string // tcp:// or tls:// address for raw TCP, see [CheckNodeTCP]; empty: none
}

// NodeState says whether a node takes new clients.
type NodeState string

// The states of a node.
const (
	NodeReady    NodeState = "ready"
	NodeUnready  NodeState = "unready"  // it lacks something that it needs, or has just started
	NodeDraining NodeState = "draining" // it is being stopped
)

// Zone names a part of a cluster whose machines are near each other, such as a data centre; the alphabet and bound are
// those of [NodeID].
type Zone string

// Instance is a node that lives, and what it last reported.
type Instance struct {
	Peer
	Load Load
}

// ErrInvalidLoad is wrapped by every error about a load report.
var ErrInvalidLoad = errors.New("invalid load report")

const (
	loadVersion = "1"
	loadFields  = 8   // that there must be; the ninth, TCP, came later
	loadNone    = "." // an empty zone or URL: in the alphabet of neither
)

// ParseZone checks the name of a zone that came from outside.
func ParseZone[T ~string | ~[]byte](s T) (Zone, error) {
	if err := checkID(s, &nodeBytes, MaxNodeIDLength); err != nil {
		return "", err
	}
	return Zone(s), nil
}

// CheckNodeURL says what is wrong with an address that clients are to connect to: it is a ws:// or wss:// URL of at most
// [MaxNodeURL] bytes, to which a query can be appended.
func CheckNodeURL(s string) error {
	if len(s) > MaxNodeURL {
		return fmt.Errorf("%w: the address has %d bytes, at most %d are allowed", ErrInvalidLoad, len(s), MaxNodeURL)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return fmt.Errorf("%w: the address has a byte that is no visible ASCII character", ErrInvalidLoad)
		}
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%w: the address is no URL", ErrInvalidLoad) // the error of url quotes it
	case u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "":
		return fmt.Errorf("%w: the address must be ws:// or wss:// and a host", ErrInvalidLoad)
	case u.User != nil || strings.ContainsAny(s, "?#"):
		return fmt.Errorf("%w: the address must have no user, no query and no fragment", ErrInvalidLoad)
	}
	return nil
}

// CheckNodeTCP says what is wrong with an address for raw TCP: it is tcp:// or tls://, a host and a port, and nothing else, of
// at most [MaxNodeTCP] bytes.
func CheckNodeTCP(s string) error {
	if len(s) > MaxNodeTCP {
		return fmt.Errorf("%w: the TCP address has %d bytes, at most %d are allowed", ErrInvalidLoad, len(s), MaxNodeTCP)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return fmt.Errorf("%w: the TCP address has a byte that is no visible ASCII character", ErrInvalidLoad)
		}
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%w: the TCP address is no URL", ErrInvalidLoad) // the error of url quotes it
	case u.Scheme != "tcp" && u.Scheme != "tls" || u.Hostname() == "" || u.Port() == "":
		return fmt.Errorf("%w: the TCP address must be tcp:// or tls://, a host and a port", ErrInvalidLoad)
	case s != u.Scheme+"://"+u.Host:
		return fmt.Errorf("%w: the TCP address must have nothing after its port, and no user", ErrInvalidLoad)
	}
	return nil
}

// Address is where the node takes clients in over a transport; empty: nowhere.
func (l Load) Address(over Transport) string {
	if over == RawTCP {
		return l.TCP
	}
	return l.URL
}

// Validate says what a report must not be.
func (l Load) Validate() error {
	switch {
	case l.Users < 0 || l.Capacity < 0:
		return fmt.Errorf("%w: users and capacity are not negative", ErrInvalidLoad)
	case l.State != NodeReady && l.State != NodeUnready && l.State != NodeDraining:
		return fmt.Errorf("%w: no such state", ErrInvalidLoad)
	case l.Weight < 1 || l.Weight > MaxWeight:
		return fmt.Errorf("%w: the weight must be 1 to %d", ErrInvalidLoad, MaxWeight)
	}
	if l.Zone != "" {
		if _, err := ParseZone(l.Zone); err != nil {
			return fmt.Errorf("%w: zone: %w", ErrInvalidLoad, err)
		}
	}
	if l.URL != "" {
		if err := CheckNodeURL(l.URL); err != nil {
			return err
		}
	}
	if l.TCP != "" {
		return CheckNodeTCP(l.TCP)
	}
	return nil
}

// Encode returns the report as it stands in Redis.
func (l Load) Encode() string {
	b := make([]byte, 0, 128)
	b = append(b, loadVersion...)
	for _, n := range [...]uint64{uint64(l.Users), uint64(l.Capacity), l.Arrivals} {
		b = strconv.AppendUint(append(b, ' '), n, 10)
	}
	b = append(append(b, ' '), l.State...)
	b = strconv.AppendInt(append(b, ' '), int64(l.Weight), 10)
	for _, s := range [...]string{string(l.Zone), l.URL} {
		if s == "" {
			s = loadNone
		}
		b = append(append(b, ' '), s...)
	}
	if l.TCP != "" {
		b = append(append(b, ' '), l.TCP...)
	}
	return string(b)
}

// ParseLoad reads a report. Fields after the ones it knows are passed over, so that a later version may add some.
func ParseLoad(s string) (Load, error) {
	if len(s) > MaxLoad {
		return Load{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalidLoad, len(s), MaxLoad)
	}
	f := strings.SplitN(s, " ", loadFields+2)
	if len(f) < loadFields || f[0] != loadVersion {
		return Load{}, fmt.Errorf("%w: not of version %s", ErrInvalidLoad, loadVersion)
	}
	var l Load
	users, err1 := parseCount(f[1])
	capacity, err2 := parseCount(f[2])
	arrivals, err3 := strconv.ParseUint(f[3], 10, 64)
	weight, err4 := parseCount(f[5])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Load{}, fmt.Errorf("%w: a field is no number, or too large", ErrInvalidLoad)
	}
	l.Users, l.Capacity, l.Arrivals, l.Weight = users, capacity, arrivals, weight
	l.State = NodeState(f[4])
	if f[6] != loadNone {
		l.Zone = Zone(f[6])
	}
	if f[7] != loadNone {
		l.URL = f[7]
	}
	if len(f) > loadFields && f[loadFields] != loadNone {
		l.TCP = f[loadFields]
	}
	if err := l.Validate(); err != nil {
		return Load{}, err
	}
	if slices.Contains(f[6:min(len(f), loadFields+1)], "") {
		return Load{}, fmt.Errorf("%w: a field is empty", ErrInvalidLoad)
	}
	return l, nil
}

// parseCount reads a number of users: at most 2^31-1, which any machine can add up.
func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err
}
