package bench

import (
	"sync/atomic"

	"github.com/beeline-rt/beeline/tools/bench/pace"
)

// publisher sends to a group, at a rate.
type publisher struct {
	// set once
	traffic  *traffic
	schedule pace.Schedule
	conn     Conn

	data []byte // of a message, to be stamped; owned by who sends

	// owned by the reader
	acknowledged bitset // those that are answered as sent
	outcomes     tally

	sent, answered, good atomic.Uint64 // for others to look at
}

func (p *publisher) send(due int64) error {
	p.traffic.meter.sent(0, due, p.traffic.meter.now())
	seq := p.sent.Add(1) - 1
	stamp{seq: seq, due: due}.put(p.data)
	if err := p.conn.Send(Request{ID: seq, Group: fanoutGroup, Data: p.data}); err != nil {
		return ended("the publisher", err)
	}
	return nil
}

// Message has nothing to do: the publisher is no member.
func (p *publisher) Message([]byte) { p.traffic.fail(errNotOurs) }

// Answer notes what became of a message.
func (p *publisher) Answer(id uint64, outcome string) {
	p.outcomes.add(outcome)
	if outcome == Sent {
		p.acknowledged.add(id)
		p.good.Add(1)
	}
	p.traffic.meter.answered(0, p.schedule.Due(id), p.traffic.meter.now())
	p.answered.Add(1)
}

func (p *publisher) flush() error { return nil }
