package edge

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestNodeThatCouldNotBeToldIsToldAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, c *courierFake) {
		t.Helper()
		d.watchers = []contracts.NodeID{"a2", "b.b1"}
		c.deafTo("b.b1")
		connect(e, "bob")
		synctest.Wait()
		<-time.After(10 * time.Second)
		if n := c.toldTo("a2"); n != 1 {
			t.Errorf("a node that has heard it was told %d times", n)
		}
		if n := c.toldTo("b.b1"); n < 4 || n > 6 {
			t.Errorf("a node that does not hear was told %d times in 10 s", n)
		}
		c.deafTo("")
		<-time.After(payWaitMax + payWait)
		before := c.toldTo("b.b1")
		<-time.After(time.Hour)
		if n := c.toldTo("b.b1"); n != before || len(c.forgotten()) != 0 || e.debts.count() != 0 {
			t.Errorf("once it has heard it, it was told %d times more, and to forget: %v", n-before, c.forgotten())
		}
	})
}

func TestNodeThatNeverHearsIsGivenUp(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, c *courierFake) {
		t.Helper()
		d.watchers = []contracts.NodeID{"b.b1"}
		c.deafTo("b.b1")
		connect(e, "bob")
		<-time.After(contracts.WatchTTL + payWait)
		synctest.Wait()
		before := c.toldTo("b.b1")
		<-time.After(time.Hour)
		if n := c.toldTo("b.b1"); before < 5 || n != before || e.debts.count() != 0 {
			t.Errorf("told %d times while its watch may live, and %d times after that", before, n-before)
		}
	})
}

func TestNodeThatMissedTooMuchIsToldToForget(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, c *courierFake) {
		t.Helper()
		for i := range maxOwed + 1 {
			e.debts.add("b.b1", contracts.ClientID(fmt.Sprint("c", i)).Address())
		}
		<-time.After(2 * payWait)
		if got := c.forgotten(); len(got) != 1 || got[0] != "b.b1" || c.toldTo("b.b1") != 0 || e.debts.count() != 0 {
			t.Errorf("told to forget: %v, of changes: %d, still owed to: %d", got, c.toldTo("b.b1"), e.debts.count())
		}
	})
}
