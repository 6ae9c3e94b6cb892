package contracts

import "strconv"

// Key is a Redis key built by this package. Nothing else makes one.
// What belongs to one address shares its hash tag `{…}`, and so one slot of a Redis Cluster and one script.
type Key string

// KeyPrefix starts every key of a cluster, so that several can share one Redis.
func KeyPrefix(c ClusterName) string { return "bl:" + string(c) + ":" }

// RecordKey is the hash that holds who has an address: field = session id, value = where it is.
func RecordKey(c ClusterName, a Address) Key {
	return Key(KeyPrefix(c) + string(a.Kind) + ":{" + string(a.Token()) + "}")
}

// WatchersKey is the sorted set of the nodes that have looked the address up: member = node id, score = when that watch
// ends, by the clock of Redis in milliseconds. It has the slot of [RecordKey].
func WatchersKey(c ClusterName, a Address) Key {
	return Key(KeyPrefix(c) + string(a.Kind) + "w:{" + string(a.Token()) + "}")
}

// LeaseKey is the string that says that a node lives: its epoch, with [LeaseTTL].
func LeaseKey(c ClusterName, n NodeID) Key { return Key(KeyPrefix(c) + "lease:{" + string(n) + "}") }

// LoadKey is the string with what a node reports of itself: a [Load]. It has the slot of [LeaseKey], and its time to live.
func LoadKey(c ClusterName, n NodeID) Key { return Key(KeyPrefix(c) + "load:{" + string(n) + "}") }

// NodesKey is the set of all node ids that ever took a lease and were not swept since.
func NodesKey(c ClusterName) Key { return Key(KeyPrefix(c) + "nodes") }

// Origins is how many keys [OriginKey] has: enough for the masters of a Redis Cluster of up to 64, evenly shared out, to
// hold one each (a given one of 64 has none with a chance of 1 in 3,000, of 32 with 1 in 10 million).
const Origins = 512

// OriginKey is the string that says which data a master holds, and since when. In a Redis Cluster, each master keeps one
// of the [Origins] keys; elsewhere there is only that with i = 0.
func OriginKey(c ClusterName, i int) Key {
	return Key(KeyPrefix(c) + "origin:{" + strconv.Itoa(i) + "}")
}

// SweepKey is the lock of the one node that looks for dead records at a time.
func SweepKey(c ClusterName) Key { return Key(KeyPrefix(c) + "sweep") }

// BindingKey is the string that says which instance of a service has a message key: its id, until the key was idle for as
// long as the service's configuration says.
func BindingKey(c ClusterName, s ServiceName, k CallKey) Key {
	t := Address{ID: string(s) + "." + string(k)}.Token() // no name of a service has a dot
	return Key(KeyPrefix(c) + "call:{" + string(t) + "}")
}
