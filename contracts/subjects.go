package contracts

import (
	"strconv"
	"strings"
)

// Subject is a NATS subject built by this package. Nothing else makes one.
type Subject string

// NodeSubject is where a node hears what is meant for one shard of its addresses: `<cluster>.node.<id>.<shard>`. c is the
// cluster of a node whose id names none.
func NodeSubject(c ClusterName, n NodeID, shard int) Subject {
	c, n = n.Split(c)
	return Subject(string(c) + ".node." + string(n) + "." + strconv.Itoa(shard))
}

// PresenceSubject is where the nodes of a cluster, one at a time, answer the [PresenceQuery] of nodes of other clusters.
func PresenceSubject(c ClusterName) Subject { return Subject(string(c) + ".presence") }

// ReturnPrefix starts the reply subjects of what node n sends. Nobody answers there; when nobody listens on a node
// subject, the NATS server says so on the reply subject at once ("no responders"), which is how a dead node is noticed.
func ReturnPrefix(c ClusterName, n NodeID) Subject {
	return Subject(string(c) + ".returned." + string(n) + ".")
}

// ReturnWildcard is what node n subscribes to, to hear of what came back.
func ReturnWildcard(c ClusterName, n NodeID) Subject { return ReturnPrefix(c, n) + ">" }

// AppendReturn appends the reply subject of one bundle to dst: prefix, target, shard, and the numbers of the tracked
// records in it, so that what comes back names what was lost.
func AppendReturn(dst []byte, prefix Subject, to NodeID, shard int, first uint64, n int) []byte {
	dst = append(dst, prefix...)
	dst = append(dst, to...)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, int64(shard), 10)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, first, 36)
	dst = append(dst, '.')
	return strconv.AppendInt(dst, int64(n), 36)
}

// ParseReturn reads what [AppendReturn] wrote. ok is false for anything else.
func ParseReturn(s string, prefix Subject) (to NodeID, shard int, first uint64, n int, ok bool) {
	rest, ok := strings.CutPrefix(s, string(prefix))
	if !ok {
		return "", 0, 0, 0, false
	}
	f := strings.Split(rest, ".")
	k := len(f) - 3 // before it stands the node's id, which may have a point in it
	if k < 1 {
		return "", 0, 0, 0, false
	}
	to, err1 := ParseNodeName(strings.Join(f[:k], "."))
	shard64, err2 := strconv.ParseUint(f[k], 10, 8)
	first, err3 := strconv.ParseUint(f[k+1], 36, 64)
	n64, err4 := strconv.ParseUint(f[k+2], 36, 20)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || shard64 >= Shards {
		return "", 0, 0, 0, false
	}
	return to, int(shard64), first, int(n64), true
}
