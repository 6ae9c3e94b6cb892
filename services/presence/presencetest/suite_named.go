package presencetest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// try is a request of a name; tries of the same name and the same question differ by their number.
func try(name, asked string, number byte) contracts.NamedRequest {
	r := contracts.NamedRequest{Key: "shop", Name: name, Try: [8]byte{number}}
	copy(r.Asked[:], asked)
	return r
}

// begun fails the test if what is known of a request is something else; of an age, only that there is one.
func (n *node) begun(r contracts.NamedRequest, want string) {
	n.w.Helper()
	known, err := n.BeginNamed(n.w.Context(), r, time.Minute)
	n.w.must(err)
	got := fmt.Sprint(known.Status, string(known.Body))
	switch {
	case known.Mine:
		got = "mine"
	case known.Other:
		got = "other"
	case known.Status == 0 && known.Age >= 0 && known.Age < promptly:
		got = "under way"
	}
	if got != want {
		n.w.Errorf("%.20q, try %d: %q, not %q", r.Name, r.Try[0], got, want)
	}
}

var namedPromises = map[string]func(*world){
	"a named request is carried out by one, whoever begins it at the same time": func(w *world) {
		nodes := []*node{w.join("a", 1), w.join("b", 2)}
		for i := range 20 {
			var mu sync.Mutex
			mine := 0
			var all sync.WaitGroup
			for j, n := range nodes {
				all.Go(func() {
					known, err := n.BeginNamed(w.Context(), try(fmt.Sprint(i), "x", byte(j)), time.Minute)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						w.Error(err)
					}
					if known.Mine {
						mine++
					}
				})
			}
			all.Wait()
			if mine != 1 {
				w.Errorf("request %d: %d carry it out", i, mine)
			}
		}
	},
	"the answer to a named request is the same for all": func(w *world) {
		a, b := w.join("a", 1), w.join("b", 2)
		name := "any \x00\r\n}{ bytes: " + strings.Repeat("n", 200)
		a.begun(try(name, "x", 1), "mine")
		a.begun(try(name, "x", 1), "mine") // once more, after a lost reply
		b.begun(try(name, "x", 2), "under way")
		b.begun(try(name, "y", 2), "other")
		body := "any \x00\r\n bytes\n"
		for range 2 {
			w.must(a.EndNamed(w.Context(), try(name, "x", 1), 404, []byte(body), time.Minute))
		}
		for _, n := range []*node{a, b} {
			n.begun(try(name, "x", 3), "404"+body)
			n.begun(try(name, "y", 3), "other")
		}
		other := try(name, "y", 4)
		other.Key = "shop-2"
		b.begun(other, "mine") // of another API key
	},
	"a named request of which nothing was done is forgotten, by whoever began it": func(w *world) {
		a, b := w.join("a", 1), w.join("b", 2)
		a.begun(try("r", "x", 1), "mine")
		w.must(b.ForgetNamed(w.Context(), try("r", "x", 2)))
		w.must(b.EndNamed(w.Context(), try("r", "x", 2), 200, []byte("not its"), time.Minute))
		b.begun(try("r", "x", 2), "under way")
		for range 2 {
			w.must(a.ForgetNamed(w.Context(), try("r", "x", 1)))
		}
		b.begun(try("r", "y", 2), "mine")
		w.must(a.ForgetNamed(w.Context(), try("r", "x", 1))) // late
		a.begun(try("r", "y", 3), "under way")
	},
	"a named request is forgotten after its life, and no sooner": func(w *world) {
		a := w.join("a", 1)
		r := try("r", "x", 1)
		left := func(most time.Duration) {
			w.Helper()
			if got := w.Client.PTTL(w.Context(), string(contracts.NamedKey(w.cluster, r))).Val(); got > most || got < most-promptly {
				w.Errorf("it stays for %v, not %v", got, most)
			}
		}
		a.begun(r, "mine")
		left(time.Minute)
		w.must(a.EndNamed(w.Context(), r, 200, nil, 2*time.Minute))
		left(2 * time.Minute)
		a.begun(try("r", "x", 2), "200")
		left(2 * time.Minute)
	},
	"an answer is kept after Redis has lost that it was under way": func(w *world) {
		a := w.join("a", 1)
		a.begun(try("r", "x", 1), "mine")
		w.Client.Del(w.Context(), string(contracts.NamedKey(w.cluster, try("r", "x", 1))))
		w.must(a.EndNamed(w.Context(), try("r", "x", 1), 200, []byte("done"), time.Minute))
		a.begun(try("r", "x", 2), "200done")
	},
	"what is garbage under a name is not taken for a request that was never begun": func(w *world) {
		a := w.join("a", 1)
		key := string(contracts.NamedKey(w.cluster, try("r", "x", 1)))
		for _, spoil := range []func() error{
			func() error { return w.Client.Set(w.Context(), key, "no entry at all", 0).Err() },
			func() error {
				entry := w.entryOf(a, try("other", "x", 1))
				return w.Client.Set(w.Context(), key, strings.Replace(entry, " 0 ", " x ", 1), 0).Err()
			},
			func() error {
				w.Client.Del(w.Context(), key)
				return w.Client.LPush(w.Context(), key, "one").Err()
			},
		} {
			w.must(spoil())
			if known, err := a.BeginNamed(w.Context(), try("r", "x", 2), time.Minute); err == nil || known.Mine {
				w.Errorf("%+v", known)
			}
		}
	},
}

// entryOf begins a request and returns what is stored of it.
func (w *world) entryOf(n *node, r contracts.NamedRequest) string {
	w.Helper()
	n.begun(r, "mine")
	return w.Client.Get(w.Context(), string(contracts.NamedKey(w.cluster, r))).Val()
}
