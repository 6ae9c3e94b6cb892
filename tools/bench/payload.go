package bench

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// A message's data is a JSON string: a mark, who sent it, its number among those of its sender, when it was due, and what
// fills it up to the size asked for. Everything that a recipient must know to check it is in it.
const (
	payloadMark = `"b!`
	payloadHead = len(payloadMark) + 2*(4+8+8)
	// MinSize is the least that a message's data has, in bytes.
	MinSize = payloadHead + 1
)

// stamp is what a message says of itself.
type stamp struct {
	sender uint32
	seq    uint64
	due    int64 // in nanoseconds since the start of the run
}

// newPayload returns data of a size, to be stamped.
func newPayload(size int) []byte {
	b := make([]byte, max(size, MinSize))
	copy(b, payloadMark)
	for i := payloadHead; i < len(b); i++ {
		b[i] = 'x'
	}
	b[len(b)-1] = '"'
	return b
}

// put writes the stamp into data that newPayload made.
func (s stamp) put(data []byte) {
	var raw [20]byte
	binary.BigEndian.PutUint32(raw[:], s.sender)
	binary.BigEndian.PutUint64(raw[4:], s.seq)
	binary.BigEndian.PutUint64(raw[12:], uint64(s.due))
	hex.Encode(data[len(payloadMark):], raw[:])
}

var errNotOurs = errors.New("a message that is not of this run arrived: is somebody else sending to its clients?")

// readStamp returns what a message says of itself.
func readStamp(data []byte) (stamp, error) {
	var raw [20]byte
	if len(data) < MinSize || string(data[:len(payloadMark)]) != payloadMark {
		return stamp{}, errNotOurs
	}
	if _, err := hex.Decode(raw[:], data[len(payloadMark):payloadHead]); err != nil {
		return stamp{}, errNotOurs
	}
	return stamp{
		sender: binary.BigEndian.Uint32(raw[:]),
		seq:    binary.BigEndian.Uint64(raw[4:]),
		due:    int64(binary.BigEndian.Uint64(raw[12:])),
	}, nil
}
