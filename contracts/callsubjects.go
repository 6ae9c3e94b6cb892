package contracts

import (
	"strconv"
	"strings"
)

// InstanceSubject is where one start of an instance of a service gets its calls: `<cluster>.call.<service>.<instance>.<epoch>`, the
// epoch in decimal. Each instance has one of its own, since the edge chooses it; and each start, so that what is for a process never reaches
// one before it that hangs, and still listens.
func InstanceSubject(c ClusterName, s ServiceName, i InstanceID, e Epoch) Subject {
	return Subject(string(c) + ".call." + string(s) + "." + string(i) + "." + strconv.FormatUint(uint64(e), 10))
}

// ReportSubject is where an instance reports: `<cluster>.report.<service>.<instance>`.
func ReportSubject(c ClusterName, s ServiceName, i InstanceID) Subject {
	return Subject(string(c) + ".report." + string(s) + "." + string(i))
}

// ReportWildcard is what an edge subscribes to, to hear of all instances.
func ReportWildcard(c ClusterName) Subject { return Subject(string(c) + ".report.>") }

// RollCallSubject is where an edge that has just started asks all instances to report at once.
func RollCallSubject(c ClusterName) Subject { return Subject(string(c) + ".rollcall") }

// SummonSubject is where an edge that has read of an instance, and has not heard of it, asks it to report at once:
// `<cluster>.rollcall.<service>.<instance>`. That nobody listens is the proof that no start of it is there.
func SummonSubject(c ClusterName, s ServiceName, i InstanceID) Subject {
	return Subject(string(c) + ".rollcall." + string(s) + "." + string(i))
}

// MissedSubject is where an edge says that it found nobody on the subject of a start of an instance, so that no other goes on to send keys
// there that it gives away: `<cluster>.missed.<service>.<instance>.<epoch>`.
func MissedSubject(c ClusterName, s ServiceName, i InstanceID, e Epoch) Subject {
	return Subject(string(c) + ".missed." + string(s) + "." + string(i) + "." + strconv.FormatUint(uint64(e), 10))
}

// MissedWildcard is what an edge subscribes to, to hear of [MissedSubject].
func MissedWildcard(c ClusterName) Subject { return Subject(string(c) + ".missed.>") }

// ParseMissed reads a subject that [MissedSubject] made.
func ParseMissed(c ClusterName, subject string) (s ServiceName, i InstanceID, e Epoch, ok bool) {
	rest, ok := strings.CutPrefix(subject, string(c)+".missed.")
	service, rest, _ := strings.Cut(rest, ".")
	instance, epoch, _ := strings.Cut(rest, ".")
	s, err1 := ParseServiceName(service)
	i, err2 := ParseInstanceID(instance)
	n, err3 := strconv.ParseUint(epoch, 10, 64)
	return s, i, Epoch(n), ok && err1 == nil && err2 == nil && err3 == nil
}

// AnswersPrefix starts the reply subjects of the calls that node n sends. One subscription hears them all.
func AnswersPrefix(c ClusterName, n NodeID) Subject {
	return Subject(string(c) + ".answers." + string(n) + ".")
}

// AppendAnswerSubject appends the reply subject of one call to dst: prefix, number, and a secret that no other call has, so that
// an instance can answer only what it was asked.
func AppendAnswerSubject(dst []byte, prefix Subject, seq, secret uint64) []byte {
	dst = append(dst, prefix...)
	dst = strconv.AppendUint(dst, seq, 36)
	dst = append(dst, '.')
	return strconv.AppendUint(dst, secret, 36)
}

// ParseAnswerSubject reads what [AppendAnswerSubject] wrote.
func ParseAnswerSubject(subject string, prefix Subject) (seq, secret uint64, ok bool) {
	rest, ok := strings.CutPrefix(subject, string(prefix))
	number, key, found := strings.Cut(rest, ".")
	seq, err1 := strconv.ParseUint(number, 36, 64)
	secret, err2 := strconv.ParseUint(key, 36, 64)
	return seq, secret, ok && found && err1 == nil && err2 == nil
}
