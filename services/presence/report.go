package presence

import (
	"github.com/beeline-rt/beeline/contracts"
)

// leaseKeys are what the scripts of the lease touch: the lease and, if this node reports of itself, its report.
func (d *Directory) leaseKeys() []contracts.Key {
	keys := []contracts.Key{d.leaseKey()}
	if d.cfg.Report != nil {
		keys = append(keys, contracts.LoadKey(d.cfg.Cluster, d.cfg.Node))
	}
	return keys
}

// leaseArgs are what they are told.
func (d *Directory) leaseArgs() []any {
	args := []any{d.cfg.Epoch.String(), d.cfg.LeaseTTL.Milliseconds()}
	if d.cfg.Report != nil {
		args = append(args, d.cfg.Report().Encode())
	}
	return args
}

// Announce has the lease renewed at once, and with it what this node reports of itself: it has changed in a way that others
// should not have to wait for.
func (d *Directory) Announce() { d.renewSoon() }
