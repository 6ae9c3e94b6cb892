package bench

import "sync/atomic"

// recipient is a client that gets the messages of one sender.
type recipient struct {
	// set once
	traffic *traffic
	sender  int // whose messages it gets
	number  int
	conn    Conn
	name    string

	checked arrivals // owned by the reader

	arrived atomic.Uint64 // for others to look at
}

// Message checks and times a message.
func (r *recipient) Message(data []byte) {
	s, err := readStamp(data)
	if err != nil || int(s.sender) != r.sender {
		r.traffic.fail(errNotOurs)
		return
	}
	r.checked.arrived(s.seq)
	r.traffic.meter.arrived(r.number, s.due, r.traffic.meter.now())
	r.arrived.Add(1)
}

// Answer has nothing to note: a recipient asks nothing.
func (r *recipient) Answer(uint64, string) {}

func (r *recipient) flush() error { return nil }
