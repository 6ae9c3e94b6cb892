package registry

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/contracts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fleetFunc is a Fleet.
type fleetFunc func() ([]contracts.Instance, error)

func (f fleetFunc) Fleet(context.Context) ([]contracts.Instance, error) { return f() }

// ready is an instance that is fit.
func ready(node contracts.NodeID, users int) contracts.Instance {
	return contracts.Instance{
		Peer: contracts.Peer{Node: node, Epoch: 1},
		Load: contracts.Load{Users: users, Capacity: 1_000_000, State: contracts.NodeReady, Weight: 1, URL: "ws://" + string(node) + ".example/v1/ws"},
	}
}

func readies(cluster string, n int) []contracts.Instance {
	all := make([]contracts.Instance, n)
	for i := range all {
		all[i] = ready(contracts.NodeID(fmt.Sprint(cluster, i+1)), 0)
	}
	return all
}

func secretsOf(tb testing.TB) contracts.TicketSecrets {
	tb.Helper()
	s, err := contracts.ParseTicketSecrets(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32))))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// direct is the configuration of a registry that sends clients to instances.
func direct() Config {
	c := DefaultConfig()
	c.Direct, c.Rate = true, 0
	return c
}

// begin starts a registry, which ends with the test.
func begin(tb testing.TB, cfg Config, o Options) *Registry {
	tb.Helper()
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	o.Secrets = secretsOf(tb)
	r := New(cfg, o)
	r.Start(tb.Context())
	tb.Cleanup(r.Close)
	return r
}

// of is a fleet that does not change, of cluster a.
func of(fleet ...contracts.Instance) map[contracts.ClusterName]Fleet {
	return map[contracts.ClusterName]Fleet{"a": fleetFunc(func() ([]contracts.Instance, error) { return fleet, nil })}
}

// hostOf is the node that a direct address leads to.
func hostOf(e contracts.Endpoint) contracts.NodeID {
	host, _, _ := strings.Cut(strings.TrimPrefix(e.URL, "ws://"), ".")
	return contracts.NodeID(host)
}
