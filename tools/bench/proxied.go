package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// Proxied is the same connections and messages on several ways to the same node, turn about: straight, and through proxies.
// What a proxy takes is what its process takes; the ways share the generator, the node and the load.
type Proxied struct {
	Ways        []Way
	Turn        int           // with which of the ways it begins: another one in each round
	Connections int           // over which nothing is said, for what each takes
	Settle      time.Duration // from the last of these to when memory is looked at
	Direct      Direct        // what is said then, over others
}

// Way is a way to the node.
type Way struct {
	Name    string
	URL     string
	Query   func(client string) string // see [Env]
	Proxy   usage.Source               // its process; nil: there is none between
	Profile func(ctx context.Context, d time.Duration) error
}

// OwnWay is the name of the way whose figures have the plain names, and TheirWay of the one that it is compared with.
const (
	OwnWay   = "gateway"
	TheirWay = "haproxy"
)

// nodeName is what the node is called among the processes of a way.
const nodeName = "edge"

var _ Work = Proxied{}

// Name is gateway.
func (Proxied) Name() string { return OwnWay }

// Validate says what is wrong.
func (p Proxied) Validate(env Env) error {
	if limit := fileLimit(); limit > 0 && 2*p.Connections+filesForOthers > limit {
		return fmt.Errorf("%d connections through a proxy need more files than the %d that a process may have: ask for fewer, or raise the limit (ulimit -n)", p.Connections, limit)
	}
	if len(p.Ways) == 0 {
		return errors.New("there is no way to the node")
	}
	return errors.Join(p.idle().Validate(env), p.Direct.Validate(env))
}

func (p Proxied) idle() Idle {
	return Idle{Connections: p.Connections, Settle: p.Settle, For: 100 * time.Millisecond} // what it is to keep them is not asked
}

// Run takes one way after the other. env.Servers is the node.
func (p Proxied) Run(ctx context.Context, env Env) (*Result, error) {
	all := newResult()
	for i := range p.Ways {
		way := p.Ways[(p.Turn+i)%len(p.Ways)]
		if err := p.take(ctx, env, way, all); err != nil {
			return nil, fmt.Errorf("%s: %w", way.Name, err)
		}
	}
	for ratio, figure := range map[string]string{
		"ratio_proxy_cpu": "proxy_cpu_us_per_message", "ratio_proxy_connect": "proxy_connect_cpu_us", "ratio_proxy_rss": "proxy_rss_kib_per_connection",
	} {
		if own, their := all.Figures[figure], all.Figures[figure+"."+TheirWay]; own > 0 && their > 0 {
			all.Figures[ratio] = own / their
		}
	}
	return all, nil
}

// take goes one way, and adds what it shows. The connections come first: memory that a process has once taken is not taken again.
func (p Proxied) take(ctx context.Context, env Env, way Way, all *Result) error {
	tell := env.Progress
	if tell != nil {
		env.Progress = func(text string) { tell(way.Name + ": " + text) }
	}
	node := env.Servers
	env.URLs, env.Query, env.Servers = []string{way.URL}, way.Query, nil
	for _, n := range node {
		env.Servers = append(env.Servers, usage.Process{Name: nodeName, Source: n.Source})
	}
	if way.Proxy != nil {
		env.Servers = append(env.Servers, usage.Process{Name: way.Name, Source: way.Proxy, Client: true})
	}
	held, err := p.idle().Run(ctx, env)
	if err != nil {
		return err
	}
	env.Profile = way.Profile
	said, err := p.Direct.Run(ctx, env)
	if err != nil {
		return err
	}
	all.Sent += said.Sent
	for outcome, n := range said.Outcomes {
		all.Outcomes[outcome] += n
	}
	for _, r := range []*Result{held, said} {
		for _, sentence := range r.Broken {
			all.broke("%s: %s", way.Name, sentence)
		}
	}
	all.proxied(way, held, said)
	return nil
}

// proxied tells what a way has shown.
func (r *Result) proxied(way Way, held, said *Result) {
	tell := func(name string, from *Result, figure string) {
		v, known := from.Figures[figure]
		switch {
		case !known:
		case way.Name == OwnWay:
			r.Figures[name] = v
		default:
			r.Figures[name+"."+way.Name] = v
		}
	}
	tell("proxy_cpu_us_per_message", said, "cpu_us_per_delivery."+way.Name)
	tell("proxy_connect_cpu_us", held, "connect_cpu_us."+way.Name)
	tell("proxy_rss_kib_per_connection", held, "rss_kib_per_connection."+way.Name)
	tell("node_cpu_us_per_message", said, "cpu_us_per_delivery."+nodeName)
	for _, name := range []string{"delivered_per_s", "latency_p50_ms", "latency_p99_ms", "latency_max_ms"} {
		tell(name, said, name)
	}
}
