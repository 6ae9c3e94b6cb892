// Package presence is the directory: it says, from Redis, which nodes hold an address, and who is to be told when that
// changes. And it keeps the lease by which a node is alive.
//
// It does not carry messages, and does not decide what becomes of one whose recipient has no entry.
//
// # What is stored
//
// One hash per address, a client or a group, with a field per session (see record.go), written once on connect and
// removed once on disconnect; nothing is refreshed per client. One sorted set per address with the nodes that have looked
// it up, which ends by itself [Config].WatchTTL after the last lookup. One string per node, its lease: the epoch of the process that holds it, with a time
// to live, renewed three times per life. An entry counts only while its node's lease carries the entry's epoch. So a
// crash makes all entries of a node dead at once, and a restart does; a dead entry is removed when somebody reads it, or
// by a slow sweep.
//
// # What is promised
//
//   - Once [Directory.Connect] has returned nil, every later [Directory.Lookup], by any node, finds the session, until
//     it is disconnected, or its node's lease lapses, or Redis loses what it acknowledged.
//   - A lookup by a node, later than the change or earlier: it sees a Connect or Disconnect, or the node is among the
//     watchers that the call returns, unless the lookup is older than WatchTTL, or Redis lost what it held since.
//   - Disconnect removes one session and no other, whatever happens at the same time.
//   - The entries of a node that died without a word stop counting [Config].LeaseTTL, plus the age of the reader's
//     cached leases (a fifth of that), after its last renewal.
//   - Nobody is declared offline because Redis is away: a lookup that cannot read is an error, and after an outage, in
//     which no node could renew its lease, a missing lease proves nothing for one more LeaseTTL.
//   - Nor because Redis was emptied: a node that finds its own lease missing, by a renewal or by any lookup, reports what
//     it does not find as [ErrUncertain], until LeaseTTL after it has its lease again, in which the others write their
//     entries again. It goes by its own lease: writes that a failover lost while the lease survived it, or in a Redis
//     Cluster those of another master, it does not notice.
//   - One string per named request of a backend says for a while what became of it (see named.go): of all who begin it, one
//     carries it out, unless Redis loses what it acknowledged.
//   - Connect, Disconnect and Lookup return within twice [Redis].Timeout, whatever Redis does.
package presence
