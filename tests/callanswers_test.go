package tests

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/backend"
	"github.com/beeline-rt/beeline/tools/client"
)

func TestLargeAnswersThatComeTogetherEndNoConnection(t *testing.T) {
	t.Parallel()
	const calls = 40
	large := json.RawMessage(`"` + strings.Repeat("x", 200<<10) + `"`)
	f := fleet.New(t, 1)
	var all sync.WaitGroup // so that the answers come together
	all.Add(calls)
	work(t, f.NATS.URL(), "w", nil, at(0), func(o *backend.Options) {
		o.Handler = func(context.Context, backend.Call) (json.RawMessage, error) {
			all.Done()
			all.Wait()
			return large, nil
		}
	})
	known(t, f, 1)
	c := dialCaller(t, f, 0, "alice")
	var callers sync.WaitGroup
	var whole atomic.Int64
	for range calls {
		callers.Go(func() {
			got, err := c.Call(t.Context(), "work", json.RawMessage("1"), client.CallOptions{Timeout: contracts.MaxCallTimeout})
			switch {
			case err == nil && len(got) == len(large):
				whole.Add(1)
			case codeOf(err) != contracts.CodeTooLarge || !client.MayHaveArrived(err):
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	callers.Wait()
	t.Logf("%d of %d had room", whole.Load(), calls)
	if counted := f.Nodes[0].Value("beeline_edge_call_outcomes_total"); whole.Load() == 0 || counted != calls {
		t.Errorf("%d of %d calls were answered, %v are counted", whole.Load(), calls, counted)
	}
}
