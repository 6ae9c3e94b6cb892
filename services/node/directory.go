package node

import (
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/presence"
)

// directory is the edge's way to presence.
type directory struct{ *presence.Directory }

var _ edge.Directory = directory{}

// Alive lists the nodes that live.
func (d directory) Alive() []contracts.NodeID {
	nodes := d.Nodes()
	ids := make([]contracts.NodeID, len(nodes))
	for i, n := range nodes {
		ids[i] = n.ID
	}
	return ids
}
