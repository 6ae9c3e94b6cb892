package edge

import "time"

// beat pings every session once in each Heartbeat, until the edge is closed: a part of the roster at a time, so that the
// pings are spread, and from this goroutine alone. melody would wake one per connection for each ping, and leave it with a
// stack of twice the size: 2 KiB for every idle connection.
func (e *Edge) beat() {
	tick := time.NewTicker(e.cfg.Heartbeat / rosterParts)
	defer tick.Stop()
	for part := 0; ; part = (part + 1) % rosterParts {
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
			for _, s := range e.roster.sessions(part) {
				s.conn.Ping()
			}
		}
	}
}
