// Package presence is the directory: it says, from Redis, which nodes hold a client. And it keeps the lease by which a
// node is alive.
//
// It does not carry messages, and does not decide what becomes of one whose recipient has no entry.
//
// # What is stored
//
// One hash per client with a field per session (see record.go), written once on connect and removed once on disconnect;
// nothing is refreshed per client. One string per node, its lease: the epoch of the process that holds it, with a time
// to live, renewed three times per life. An entry counts only while its node's lease carries the entry's epoch. So a
// crash makes all entries of a node dead at once, and a restart does; a dead entry is removed when somebody reads it, or
// by a slow sweep.
//
// # What is promised
//
//   - Once [Directory.Connect] has returned nil, every later [Directory.Lookup], by any node, finds the session, until
//     it is disconnected, or its node's lease lapses, or Redis loses what it acknowledged.
//   - Disconnect removes one session and no other, whatever happens at the same time.
//   - The entries of a node that died without a word stop counting [Config].LeaseTTL, plus the age of the reader's
//     cached leases (a fifth of that), after its last renewal.
//   - Nobody is declared offline because Redis is away: a lookup that cannot read is an error, and after an outage, in
//     which no node could renew its lease, a missing lease proves nothing for one more LeaseTTL.
//   - Connect, Disconnect and Lookup return within twice [Redis].Timeout, whatever Redis does.
package presence
