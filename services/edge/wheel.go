package edge

import (
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// wheel says which friends are due, at a cost of those alone: a scan of all, four times a second, would take a core at
// a million. Its turns are friendsTick long. Who is rescheduled stays where it was, too, and is passed over there.
type wheel struct {
	start time.Time
	turn  uint64                           // the last that was taken
	slots [wheelSlots][]contracts.ClientID // of the turns after it
}

// wheelSlots turns are a little longer than friendsRefresh, the longest wait. Who is due later is put off.
const wheelSlots = 64

// put schedules a friend; at is not before now. It returns the turn in which it is due.
func (w *wheel) put(c contracts.ClientID, at time.Time) uint64 {
	turn := max(uint64(max(0, at.Sub(w.start))/friendsTick)+1, w.turn+1)
	turn = min(turn, w.turn+wheelSlots-1)
	w.slots[turn%wheelSlots] = append(w.slots[turn%wheelSlots], c)
	return turn
}

// next takes the next turn that has come by now, if there is one.
func (w *wheel) next(now time.Time) (turn uint64, clients []contracts.ClientID, ok bool) {
	if uint64(max(0, now.Sub(w.start))/friendsTick) <= w.turn {
		return 0, nil, false
	}
	w.turn++
	slot := &w.slots[w.turn%wheelSlots]
	clients, *slot = *slot, nil
	return w.turn, clients, true
}
