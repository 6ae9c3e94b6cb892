package contracts

// Key is a Redis key built by this package. Nothing else makes one.
// What belongs to one address shares its hash tag `{…}`, and so one slot of a Redis Cluster and one script.
type Key string

// KeyPrefix starts every key of a cluster, so that several can share one Redis.
func KeyPrefix(c ClusterName) string { return "bl:" + string(c) + ":" }

// ClientKey is the hash that holds a client's sessions: field = session id, value = where it is.
func ClientKey(c ClusterName, t Token) Key { return Key(KeyPrefix(c) + "c:{" + string(t) + "}") }

// LeaseKey is the string that says that a node lives: its epoch, with [LeaseTTL].
func LeaseKey(c ClusterName, n NodeID) Key { return Key(KeyPrefix(c) + "lease:{" + string(n) + "}") }

// NodesKey is the set of all node ids that ever took a lease and were not swept since.
func NodesKey(c ClusterName) Key { return Key(KeyPrefix(c) + "nodes") }

// SweepKey is the lock of the one node that looks for dead records at a time.
func SweepKey(c ClusterName) Key { return Key(KeyPrefix(c) + "sweep") }
