package bench

import "math/bits"

// bitset is a set of small numbers.
type bitset struct{ words []uint64 }

// add adds i and reports whether it was there.
func (s *bitset) add(i uint64) bool {
	for uint64(len(s.words)) <= i/64 {
		s.words = append(s.words, 0)
	}
	was := s.words[i/64] & (1 << (i % 64))
	s.words[i/64] |= 1 << (i % 64)
	return was != 0
}

// without counts those that are not in the other set.
func (s *bitset) without(other *bitset) (n uint64) {
	for i, word := range s.words {
		if i < len(other.words) {
			word &^= other.words[i]
		}
		n += uint64(bits.OnesCount64(word))
	}
	return n
}

// arrivals checks what one recipient gets from one sender. It is used by one goroutine at a time.
type arrivals struct {
	shown      bitset
	next       uint64 // one more than the highest so far
	count      uint64
	duplicated uint64
	reordered  uint64
}

// arrived notes a message.
func (a *arrivals) arrived(seq uint64) {
	switch {
	case a.shown.add(seq):
		a.duplicated++
		return
	case seq < a.next:
		a.reordered++
	default:
		a.next = seq + 1
	}
	a.count++
}

// lost counts the messages that the sender was told are delivered, and that were never shown.
func (a *arrivals) lost(answered *bitset) uint64 { return answered.without(&a.shown) }

// tally counts outcomes by their names. There are few of them, and nearly all are the first.
type tally struct{ counts []outcomeCount }

type outcomeCount struct {
	name string
	n    uint64
}

func (t *tally) add(name string) {
	for i := range t.counts {
		if t.counts[i].name == name {
			t.counts[i].n++
			return
		}
	}
	t.counts = append(t.counts, outcomeCount{name, 1})
}
