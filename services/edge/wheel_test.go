package edge

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestWheelTurnsUpEverybodyOnceWhenDue(t *testing.T) {
	t.Parallel()
	start := time.Now()
	w := wheel{start: start}
	due, turns := map[contracts.ClientID]time.Time{}, map[contracts.ClientID]uint64{}
	for i := range 1000 {
		c := contracts.ClientID(fmt.Sprint(i))
		for range 1 + i%3 { // the last schedule counts
			due[c] = start.Add(rand.N(friendsRefresh))
			turns[c] = w.put(c, due[c])
		}
	}
	for now := start; len(due) > 0; now = now.Add(rand.N(2 * friendsTick)) {
		if now.Sub(start) > friendsRefresh+3*friendsTick {
			t.Fatalf("%d are never due", len(due))
		}
		for {
			turn, clients, ok := w.next(now)
			if !ok {
				break
			}
			for _, c := range clients {
				if turns[c] != turn {
					continue
				}
				if at := due[c]; now.Before(at) || now.Sub(at) > 3*friendsTick {
					t.Errorf("%s was due %v ago", c, now.Sub(at))
				}
				delete(due, c)
				delete(turns, c)
			}
		}
	}
}
