package across_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/across"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What these tests hold are moments between clusters, in fake time. The promises on real ones are in the folder tests.

var (
	errNobody = errors.New("nobody")
	bob       = contracts.ClientID("bob").Address()
	eve       = contracts.ClientID("eve").Address()
)

// home is a directory in memory.
type home struct {
	across.Home

	mu       sync.Mutex
	entries  map[contracts.Address][]contracts.Entry
	watchers []contracts.NodeID
	alive    []contracts.Peer
	err      error
	hold     chan struct{} // if set, lookups for others wait for it
	distrust bool
}

func (h *home) Lookup(ctx context.Context, as []contracts.Address) ([][]contracts.Entry, error) {
	return h.look(as)
}

func (h *home) LookupFor(_ context.Context, n contracts.NodeID, as []contracts.Address) ([][]contracts.Entry, error) {
	h.mu.Lock()
	h.watchers = append(h.watchers, n)
	hold := h.hold
	h.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return h.look(as)
}

func (h *home) look(as []contracts.Address) ([][]contracts.Entry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return nil, h.err
	}
	found := make([][]contracts.Entry, len(as))
	for i, a := range as {
		found[i] = h.entries[a]
	}
	return found, nil
}

func (h *home) Alive() []contracts.Peer { return h.alive }
func (h *home) Trusted() bool           { return !h.distrust }

func entry(n contracts.NodeID) contracts.Entry {
	return contracts.Entry{Session: contracts.NewSessionID(), Node: n, Epoch: 1, Since: time.UnixMilli(1)}
}

// way is the way to another cluster.
type way struct {
	to *across.Directory

	mu    sync.Mutex
	state string // "", "nobody", "silent" or "garbage"
	asked int
}

func (w *way) is(state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = state
}

// count is how many questions for addresses were put.
func (w *way) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

func (w *way) Ask(ctx context.Context, _ contracts.Subject, question []byte, _ time.Duration) ([]byte, error) {
	w.mu.Lock()
	state := w.state
	if q, err := contracts.ReadPresenceQuery(question); err == nil && len(q.Addresses) > 0 { // else it is a poll
		w.asked++
	}
	w.mu.Unlock()
	switch state {
	case "nobody":
		return nil, errNobody
	case "silent":
		<-ctx.Done()
		return nil, ctx.Err()
	case "garbage":
		return []byte{1, 2, 3}, nil
	}
	if q, err := contracts.ReadPresenceQuery(question); state == "one knows nothing" && err == nil && len(q.Addresses) > 0 {
		w.is("")
		return contracts.PresenceReply{Findings: make([]contracts.Finding, len(q.Addresses))}.Append(nil), nil
	}
	answer := make(chan []byte, 1)
	w.to.Answer(ctx, question, func(b []byte) { answer <- b })
	return <-answer, nil
}

// pair runs a test on the directory of cluster a, which asks cluster b.
func pair(t *testing.T, test func(t *testing.T, d *across.Directory, a, b *home, w *way)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &home{entries: map[contracts.Address][]contracts.Entry{}, alive: []contracts.Peer{{Node: "a1", Epoch: 1}}}
		b := &home{entries: map[contracts.Address][]contracts.Entry{}, alive: []contracts.Peer{{Node: "b1", Epoch: 1}}}
		w := &way{to: across.New(b, nil, across.Config{Cluster: "b", Node: "b1", Peers: []contracts.ClusterName{"a"}, Nobody: errNobody})}
		d := across.New(a, w, across.Config{Cluster: "a", Node: "a1", Peers: []contracts.ClusterName{"b"}, Nobody: errNobody})
		d.Start(t.Context())
		<-d.Missed() // of the start
		test(t, d, a, b, w)
		d.Close()
		w.to.Close()
	})
}

func TestEntriesOfAllClustersAreFoundAndWatched(t *testing.T) {
	t.Parallel()
	pair(t, func(t *testing.T, d *across.Directory, a, b *home, _ *way) {
		t.Helper()
		a.entries[bob] = []contracts.Entry{entry("a2")}
		b.entries[bob] = []contracts.Entry{entry("b1"), entry("b2")}
		found, err := d.Lookup(t.Context(), []contracts.Address{eve, bob})
		if err != nil || len(found[0]) != 0 || len(found[1]) != 3 {
			t.Fatalf("found %v, %v", found, err)
		}
		for i, n := range []contracts.NodeID{"a2", "b.b1", "b.b2"} {
			if found[1][i].Node != n {
				t.Errorf("entry %d is on %s, not %s", i, found[1][i].Node, n)
			}
		}
		if len(b.watchers) != 1 || b.watchers[0] != "a.a1" {
			t.Errorf("watchers there: %v", b.watchers)
		}
		if all := d.Alive(); len(all) != 2 || all[1].Node != "b.b1" {
			t.Errorf("alive: %v", all)
		}
	})
}

func TestClusterThatCannotBeReachedHasNobodyUntilItIsBack(t *testing.T) {
	t.Parallel()
	pair(t, func(t *testing.T, d *across.Directory, a, b *home, w *way) {
		t.Helper()
		a.entries[eve], b.entries[bob] = []contracts.Entry{entry("a2")}, []contracts.Entry{entry("b1")}
		w.is("nobody")
		found, err := d.Lookup(t.Context(), []contracts.Address{eve, bob})
		if err != nil || len(found[0]) != 1 || len(found[1]) != 0 {
			t.Fatalf("found %v, %v", found, err)
		}
		<-d.Missed() // what led there leads nowhere
		if len(d.Alive()) != 2 {
			t.Error("after a moment its nodes are dead")
		}
		<-time.After(5 * time.Second)
		if len(d.Alive()) != 1 {
			t.Error("after seconds its nodes are still alive")
		}
		w.is("")
		<-d.Missed()
		if found, err = d.Lookup(t.Context(), []contracts.Address{bob}); err != nil || len(found[0]) != 1 {
			t.Errorf("back again: found %v, %v", found, err)
		}
	})
}

func TestSilentClusterHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	pair(t, func(t *testing.T, d *across.Directory, a, b *home, w *way) {
		t.Helper()
		a.entries[eve] = []contracts.Entry{entry("a2")}
		for _, state := range []string{"silent", "garbage"} {
			w.is(state)
			began := time.Now()
			var partial *across.Error
			found, err := d.Lookup(t.Context(), []contracts.Address{eve, bob})
			if !errors.As(err, &partial) || !partial.FailedAt(0) || !partial.FailedAt(1) || partial.Away() || len(found[0]) != 1 {
				t.Fatalf("%s: found %v, %v", state, found, err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s: answered after %v", state, took)
			}
			asked := w.count()
			for range 100 {
				if _, err := d.Lookup(t.Context(), []contracts.Address{bob}); err == nil {
					t.Fatal("not there is what nobody can know")
				}
			}
			if took := time.Since(began); took > time.Second || w.count() > asked {
				t.Errorf("%s: 100 more took %v, and asked %d times", state, took, w.count()-asked)
			}
			<-time.After(6 * time.Second)
			<-d.Missed()
			if found, err := d.Lookup(t.Context(), []contracts.Address{eve, bob}); err != nil || len(found[0]) != 1 {
				t.Errorf("%s: once it is noticed: %v, %v", state, found, err)
			}
			w.is("")
			<-d.Missed()
		}
	})
}

func TestWhatTheOtherClusterDoesNotKnowIsNotTakenForGone(t *testing.T) {
	t.Parallel()
	pair(t, func(t *testing.T, d *across.Directory, a, b *home, _ *way) {
		t.Helper()
		for name, change := range map[string]func(){
			"its Redis is away":     func() { b.err = errors.New("away") },
			"its Redis was emptied": func() { b.err, b.distrust = nil, true },
		} {
			change()
			var partial *across.Error
			if _, err := d.Lookup(t.Context(), []contracts.Address{bob}); !errors.As(err, &partial) || !partial.FailedAt(0) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestNodeThatKnowsNothingDoesNotSpeakForItsCluster(t *testing.T) {
	t.Parallel()
	pair(t, func(t *testing.T, d *across.Directory, _, b *home, w *way) {
		t.Helper()
		b.entries[bob] = []contracts.Entry{entry("b1")}
		w.is("one knows nothing")
		if found, err := d.Lookup(t.Context(), []contracts.Address{bob}); err != nil || len(found[0]) != 1 || w.count() != 2 {
			t.Errorf("found %v, %v, by %d questions", found, err, w.count())
		}
	})
}

func TestQuestionsOverTheBoundAreAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	pair(t, func(t *testing.T, _ *across.Directory, _, b *home, w *way) {
		t.Helper()
		hold := make(chan struct{})
		b.mu.Lock()
		b.hold = hold
		b.mu.Unlock()
		q := contracts.PresenceQuery{Asker: "a.a1", Addresses: []contracts.Address{bob}}.Append(nil)
		var mu sync.Mutex
		known, unknown := 0, 0
		for range 100 {
			w.to.Answer(t.Context(), q, func(answer []byte) {
				p, err := contracts.ReadPresenceReply(answer, 1)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if p.Findings[0].Known {
					known++
				} else {
					unknown++
				}
			})
		}
		synctest.Wait()
		mu.Lock()
		if known != 0 || unknown != 68 {
			t.Errorf("%d questions of 100 were refused at once, not 68", unknown)
		}
		mu.Unlock()
		close(hold)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if known != 32 {
			t.Errorf("%d questions were answered", known)
		}
	})
}

func TestNodeThatIsHeardBringsItsClusterBack(t *testing.T) {
	t.Parallel()
	pair(t, func(t *testing.T, d *across.Directory, _, b *home, w *way) {
		t.Helper()
		w.is("nobody")
		<-d.Missed() // it is down
		w.is("")
		b.entries[bob] = []contracts.Entry{entry("b1")}
		if d.Met(contracts.Peer{Node: "c.c1", Epoch: 1}) {
			t.Error("a cluster that is no peer is back")
		}
		if !d.Met(contracts.Peer{Node: "b.b1", Epoch: 2}) {
			t.Error("it is not said that changes may have been missed")
		}
		if found, err := d.Lookup(t.Context(), []contracts.Address{bob}); err != nil || len(found[0]) != 1 {
			t.Errorf("found %v, %v", found, err)
		}
		<-d.Missed() // for those who have to look at everything
		if d.Met(contracts.Peer{Node: "b.b1", Epoch: 3}) {
			t.Error("it is back twice")
		}
	})
}

func TestClusterThatIsNoPeerGetsNoAnswer(t *testing.T) {
	t.Parallel()
	pair(t, func(t *testing.T, _ *across.Directory, _, b *home, w *way) {
		t.Helper()
		for _, as := range [][]contracts.Address{nil, {bob}} {
			q := contracts.PresenceQuery{Asker: "c.c1", Addresses: as}.Append(nil)
			w.to.Answer(t.Context(), q, func([]byte) { t.Error("answered") })
		}
		synctest.Wait()
		if len(b.watchers) != 0 {
			t.Error("looked up")
		}
	})
}

func TestWhatIsNoQuestionIsNotAnswered(t *testing.T) {
	t.Parallel()
	pair(t, func(t *testing.T, _ *across.Directory, _, b *home, w *way) {
		t.Helper()
		w.to.Answer(t.Context(), []byte("x"), func([]byte) { t.Error("answered") })
		if len(b.watchers) != 0 {
			t.Error("looked up")
		}
	})
}
