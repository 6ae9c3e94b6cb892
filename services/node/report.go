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
		State: contracts.NodeReady, Weight: n.cfg.Weight, Zone: n.cfg.Zone, URL: n.handedOut(),
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
	if n.cfg.Advertise != "" {
		return n.cfg.Advertise
	}
	host, _, err := net.SplitHostPort(n.http.Clients.Listener.Addr().String())
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err != nil || ip.IsUnspecified() {
		return ""
	}
	return n.URL()
}
