package presencetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

var bindingPromises = map[string]func(*world){
	"a key that nobody has is given to one, whoever asks at the same time": func(w *world) {
		a, b := w.join("a", 1), w.join("b", 2)
		for i := range 20 {
			key := contracts.CallKey(fmt.Sprint("k", i))
			got := make([]contracts.InstanceID, 2)
			var both sync.WaitGroup
			for j, n := range []*node{a, b} {
				both.Go(func() {
					var err error
					if got[j], err = n.Bind(w.Context(), "orders", key, contracts.InstanceID(fmt.Sprint("i", j)), "", time.Minute); err != nil {
						w.Error(err)
					}
				})
			}
			both.Wait()
			if got[0] != got[1] || got[0] == "" {
				w.Errorf("%s is at %s, and at %s", key, got[0], got[1])
			}
		}
	},
	"a key moves only from the instance that is gone": func(w *world) {
		a := w.join("a", 1)
		bind := func(take, gone, want contracts.InstanceID) {
			w.Helper()
			got, err := a.Bind(w.Context(), "orders", "k", take, gone, time.Minute)
			if w.must(err); got != want {
				w.Errorf("taken for %s, without %q: %s has it, not %s", take, gone, got, want)
			}
		}
		bind("", "", "")
		bind("one", "", "one")
		bind("", "", "one")
		bind("", "one", "")
		bind("two", "", "one")
		bind("two", "three", "one")
		bind("two", "one", "two")
		bind("two", "one", "two") // once more, after a lost reply
		bind("three", "one", "two")
		if got, err := a.Bind(w.Context(), "other", "k", "three", "", time.Minute); err != nil || got != "three" {
			w.Errorf("the key of another service is at %s, %v", got, err)
		}
	},
	"a key is forgotten when it was idle": func(w *world) {
		a := w.join("a", 1)
		key := string(contracts.BindingKey(w.cluster, "orders", "k"))
		_, err := a.Bind(w.Context(), "orders", "k", "one", "", time.Minute)
		w.must(err)
		_, err = a.Bind(w.Context(), "orders", "k", "two", "", 2*time.Minute)
		w.must(err)
		if left := w.Client.PTTL(w.Context(), key).Val(); left <= time.Minute || left > 2*time.Minute {
			w.Errorf("a key that was used stays for %v", left)
		}
	},
	"a binding that is garbage is replaced": func(w *world) {
		a := w.join("a", 1)
		key := string(contracts.BindingKey(w.cluster, "orders", "k"))
		for _, spoil := range []func() error{
			func() error { return w.Client.Set(w.Context(), key, "not an id", 0).Err() },
			func() error {
				w.Client.Del(w.Context(), key)
				return w.Client.LPush(w.Context(), key, "one").Err()
			},
		} {
			w.must(spoil())
			if got, err := a.Bind(w.Context(), "orders", "k", "two", "", time.Minute); err != nil || got != "two" {
				w.Errorf("%s, %v", got, err)
			}
		}
	},
}
