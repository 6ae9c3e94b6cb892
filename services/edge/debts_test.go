package edge

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestNodeThatCouldNotBeToldIsToldToForget(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, e *Edge, d *directoryFake, c *courierFake) {
		t.Helper()
		d.watchers = []contracts.NodeID{"a2", "b.b1"}
		c.deafTo("b.b1")
		connect(e, "bob")
		synctest.Wait()
		<-time.After(5 * payWait)
		forgets := c.forgotten()
		if len(forgets) != 5 {
			t.Errorf("nodes told to forget while one does not hear: %v", forgets)
		}
		for _, n := range forgets {
			if n != "b.b1" {
				t.Errorf("%s was told, which had heard of the change", n)
			}
		}
		c.deafTo("")
		<-time.After(2 * payWait)
		before := len(c.forgotten())
		<-time.After(10 * payWait)
		if n := len(c.forgotten()) - before; before == 5 || n != 0 {
			t.Errorf("told %d times once it hears, and %d times after that", before-5, n)
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
		<-time.After(contracts.WatchTTL + 2*payWait)
		synctest.Wait()
		before := len(c.forgotten())
		<-time.After(time.Hour)
		if n := len(c.forgotten()); before == 0 || n != before || e.debts.count() != 0 {
			t.Errorf("told %d times while its watch may live, and %d times after that", before, n-before)
		}
	})
}
