package gateway

import (
	"log/slog"
	"sync/atomic"

	"github.com/beeline-rt/beeline/contracts"
)

// pulse is what a gateway knows of one instance by asking it, and by what it says to clients meanwhile.
type pulse struct {
	peer contracts.Peer // set once

	heard   atomic.Bool           // bytes have come for a client since the last question was due
	answer  atomic.Bool           // an answer has, late or not
	broken  atomic.Pointer[error] // why a question could not be asked: it is not silence when a connection is refused
	unready atomic.Bool           // what its last answer said
	suspect atomic.Bool           // it has left questions unanswered
	asking  atomic.Int32          // questions that wait for their answer
	relays  atomic.Int64          // its clients

	// owned by the loop
	address    string // where it is asked; empty: nowhere
	asked      bool
	missed     int   // in a row: questions due for which no answer had come
	silent     int   // of these, how many since which not one byte has come either
	cut        bool  // its clients were cut off, or would have been but for the others
	wasUnready bool  // what was logged
	why        error // why it could not be asked, of late; nil: it was, and has not answered
}

// suspicious is how many questions in a row an instance may leave unanswered.
const suspicious = 2

// say notes that bytes came from the instance. Its relays share this: they only read, but for the first after a question.
func (p *pulse) say() {
	if p != nil && !p.heard.Load() {
		p.heard.Store(true)
	}
}

// join and leave count a client of the instance.
func (p *pulse) join() {
	if p != nil {
		p.relays.Add(1)
	}
}

func (p *pulse) leave() {
	if p != nil {
		p.relays.Add(-1)
	}
}

// unfit tells whether others are to be preferred for new clients.
func (p *pulse) unfit() bool { return p.suspect.Load() || p.unready.Load() }

// look takes in what has come since the last question was due, and tells whether an answer is missing.
func (p *pulse) look() (missing bool) {
	heard, broken, answer := p.heard.Swap(false), p.broken.Swap(nil), p.answer.Swap(false)
	p.why = nil
	if broken != nil {
		p.why = *broken
	}
	switch {
	case !p.asked:
		return false
	case answer:
		p.missed, p.silent, p.cut = 0, 0, false
		return false
	case heard || broken != nil:
		p.missed++
		p.silent = 0
		return true
	}
	p.missed++
	p.silent++
	return true
}

// judge changes what is thought of an instance, and logs what is new.
func (p *pulse) judge(log *slog.Logger) {
	node := slog.String("node", string(p.peer.Node))
	if suspect := p.missed >= suspicious; suspect != p.suspect.Load() {
		p.suspect.Store(suspect)
		if suspect {
			said := []any{node, slog.Bool("silent", p.silent >= suspicious)}
			if p.why != nil {
				said = append(said, slog.Any("error", p.why))
			}
			log.Warn("gateway: an instance does not answer; its alternates take new clients", said...)
		} else {
			log.Info("gateway: an instance answers again", node)
		}
	}
	if unready := p.unready.Load(); unready != p.wasUnready {
		p.wasUnready = unready
		log.Info("gateway: an instance says whether it is ready", node, slog.Bool("ready", !unready))
	}
}
