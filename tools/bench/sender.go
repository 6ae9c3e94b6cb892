package bench

import "sync/atomic"

// sender is one half of a pair. With a rate, the pacer sends and the reader notes answers; with a window, the reader does
// both.
type sender struct {
	// set once
	talk   *talk
	number int
	conn   Conn
	name   string
	to     string
	batch  bool
	due    func(seq uint64) int64 // with a rate

	// owned by who sends
	data     []byte    // of a message, to be stamped
	payloads []byte    // of those that are sent together
	requests []Request // sent together
	credits  int       // messages that may be sent now, with a window

	// owned by the reader
	dues         []int64 // with a window: when message seq was sent
	acknowledged bitset  // those that are answered as delivered
	outcomes     tally

	sent, answered, delivered atomic.Uint64 // for others to look at
}

// Message passes over what comes: nobody sends to a sender.
func (s *sender) Message([]byte) { s.talk.fail(errNotOurs) }

// Answer notes what became of a message.
func (s *sender) Answer(id uint64, outcome string) {
	s.outcomes.add(outcome)
	if outcome == Delivered {
		s.acknowledged.add(id)
		s.delivered.Add(1)
	}
	due := int64(0)
	if s.due != nil {
		due = s.due(id)
	} else if id < uint64(len(s.dues)) {
		due = s.dues[id]
	}
	s.talk.meter.answered(s.number, due, s.talk.meter.now())
	s.answered.Add(1)
	if s.due == nil {
		s.credits++
	}
}

// flush sends what may be sent, with a window.
func (s *sender) flush() error {
	if s.credits == 0 || s.due != nil {
		return nil
	}
	if s.talk.meter.now() >= s.talk.meter.measured.to {
		s.credits = 0
		return nil
	}
	if s.batch {
		return s.sendTogether()
	}
	for ; s.credits > 0; s.credits-- {
		now := s.talk.meter.now()
		s.dues = append(s.dues, now)
		if err := s.send(now); err != nil {
			return err
		}
	}
	return nil
}

// sendTogether sends all that may be sent as one.
func (s *sender) sendTogether() error {
	now := s.talk.meter.now()
	s.requests, s.payloads = s.requests[:0], s.payloads[:0]
	for ; s.credits > 0; s.credits-- {
		s.dues = append(s.dues, now)
		seq := s.sent.Add(1) - 1
		stamp{sender: uint32(s.number), seq: seq, due: now}.put(s.data)
		s.payloads = append(s.payloads, s.data...)
		s.requests = append(s.requests, Request{ID: seq, To: s.to})
	}
	for i := range s.requests { // not before: the payloads may have moved
		s.requests[i].Data = s.payloads[i*len(s.data) : (i+1)*len(s.data)]
	}
	return s.conn.Send(s.requests...)
}

// send sends the next message.
func (s *sender) send(due int64) error {
	if s.due != nil {
		s.talk.meter.sent(s.number, due, s.talk.meter.now())
	}
	seq := s.sent.Add(1) - 1
	stamp{sender: uint32(s.number), seq: seq, due: due}.put(s.data)
	return s.conn.Send(Request{ID: seq, To: s.to, Data: s.data})
}
