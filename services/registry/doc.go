// Package registry tells clients where to connect: it knows which instances of which clusters are fit to serve, chooses
// among them by a policy, and signs a ticket for what it chose.
//
// It holds nothing that another registry could not rebuild within seconds: the fleet is read from what the nodes report, and
// what it has handed out lately is forgotten when it has arrived. So any number of registries run at once, and do not know
// of each other.
//
// # Placement
//
// A ticket names a cluster and a key, and no instance; whoever reads it finds the instance by the key, with
// [rendezvous.Order] over all instances of the cluster that report, of which it takes the first that is fit. So a registry
// that wants a client on a certain instance draws a key that belongs to it. Whether one is fit is a question of the transport,
// too: clients over raw TCP are sent to none that does not take it, be it through a gateway, which goes on over the same.
//
//   - [Hash]: the key that the caller gave, or else the client's id. The same key is on the same instance, whichever
//     registry is asked. Every request with a key is placed so.
//   - [LeastConnections]: the one with fewer users, for its weight, of two that chance picks. Two at random, not the best of all,
//     because several registries look at the same figures, and must not all send a crowd to the same instance. What this one
//     has handed out is counted until the instance reports as many arrivals.
//
// # The fleet
//
// An update in which more than half of a cluster's instances are missing, that did not say they would go, is not acted on
// for [Config].Hold: it is more likely that Redis was emptied than that they died. A cluster whose Redis cannot be read for
// that long counts no more if there is another that can; if there is none, what was known last is better than nothing.
package registry
