package node

import (
	"net"
	"net/netip"

	"github.com/beeline-rt/beeline/contracts"
)

// report is what this node reports of itself with each renewal of its lease.
func (n *Node) report() contracts.Load {
	l := contracts.Load{
		Users: n.edge.Sessions(), Capacity: n.cfg.Edge.MaxSessions, Arrivals: n.edge.Arrivals(),
		State: contracts.NodeReady, Weight: n.cfg.Weight, Zone: n.cfg.Zone, URL: n.handedOut(), TCP: n.handedOutTCP(),
	}
	switch {
	case n.edge.Draining():
		l.State = contracts.NodeDraining
	case !n.serving.Load() || len(n.notReady()) > 0:
		l.State = contracts.NodeUnready
	}
	return l
}

// handedOut is the address that others may hand to clients: none if this node listens on every address of its machine and
// was not told which of them others can reach.
func (n *Node) handedOut() string {
	if n.cfg.Advertise != "" || reachable(n.http.Clients.Listener) {
		return n.URL()
	}
	return ""
}

// handedOutTCP is handedOut for raw TCP.
func (n *Node) handedOutTCP() string {
	if n.cfg.TCPListen != "" && (n.cfg.TCPAdvertise != "" || reachable(n.http.TCP.Listener)) {
		return n.TCPURL()
	}
	return ""
}

// reachable tells whether a listener is on an address that others can be told.
func reachable(l net.Listener) bool {
	host, _, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && !ip.IsUnspecified()
}
