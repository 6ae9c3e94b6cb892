package contracts

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

// NodesKey is the set of all node ids that ever took a lease and were not swept since.
func NodesKey(c ClusterName) Key { return Key(KeyPrefix(c) + "nodes") }

// SweepKey is the lock of the one node that looks for dead records at a time.
func SweepKey(c ClusterName) Key { return Key(KeyPrefix(c) + "sweep") }
