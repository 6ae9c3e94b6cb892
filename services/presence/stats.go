package presence

import "sync/atomic"

// Stats counts what a directory has done since it was opened.
type Stats struct {
	Connects        uint64 // entries written
	Disconnects     uint64 // entries removed by their node
	Lookups         uint64 // calls of Lookup
	LookupAddresses uint64 // addresses asked for in them
	LeaseAsks       uint64 // rounds in which a lookup met a lease that was not cached, and asked for it
	Errors          uint64 // calls, renewals and refreshes that failed
	Pruned          uint64 // dead entries removed
	PruneSkipped    uint64 // dead entries left for the next reader, because too many were waiting
	Renewals        uint64 // renewals of the lease
	Losses          uint64 // times Redis was found to have lost what it held
	Sweeps          uint64 // sweeps carried through by this node
}

type stats struct {
	connects, disconnects, lookups, lookupAddresses, leaseAsks, errors,
	pruned, pruneSkipped, renewals, losses, sweeps atomic.Uint64
}

// Stats returns the counters. It costs a dozen atomic loads.
func (d *Directory) Stats() Stats {
	s := &d.stats
	return Stats{
		Connects: s.connects.Load(), Disconnects: s.disconnects.Load(),
		Lookups: s.lookups.Load(), LookupAddresses: s.lookupAddresses.Load(), LeaseAsks: s.leaseAsks.Load(),
		Errors: s.errors.Load(), Pruned: s.pruned.Load(), PruneSkipped: s.pruneSkipped.Load(),
		Renewals: s.renewals.Load(), Losses: s.losses.Load(), Sweeps: s.sweeps.Load(),
	}
}
