package node

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/beeline-rt/beeline/services/httpserver"
)

// health serves what a load balancer asks: healthz, the process runs; readyz, it takes new clients.
func (n *Node) health(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if not := n.notReady(); len(not) > 0 {
			http.Error(w, strings.Join(not, "; "), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
}

// notReady says why no new clients should come.
func (n *Node) notReady() (why []string) {
	if n.edge.Draining() {
		why = append(why, "this node is stopping")
	}
	if !n.conn.Connected() {
		why = append(why, "no connection to NATS")
	}
	if n.Err() != nil {
		why = append(why, n.Err().Error())
	}
	return why
}

func (n *Node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	n.health(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{Registry: n.registry}))
	if n.cfg.Profiles {
		httpserver.Profiles(mux)
	}
	return mux
}

// register gathers the metrics of all parts.
func (n *Node) register() {
	labels := prometheus.Labels{"cluster": string(n.cfg.Cluster), "node": string(n.cfg.Node)}
	n.registry = prometheus.NewRegistry()
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r := prometheus.WrapRegistererWith(labels, n.registry)
	r.MustRegister(n.edge.Collectors()...)
	r.MustRegister(n.across.Collectors()...)
	if n.api != nil {
		r.MustRegister(n.api.Collectors()...)
	}
	r.MustRegister(n.calls.Collectors()...)
	counter := func(name, help string, f func() uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "beeline_" + name, Help: help}, func() float64 { return float64(f()) }))
	}
	if n.events != nil {
		counter("events_told_total", "Events that their backend took.", func() uint64 { return n.events.Stats().Told })
		counter("events_dropped_total", "Events dropped because too many waited, or the node stopped.", func() uint64 { return n.events.Stats().Dropped })
		counter("events_failed_total", "Events that their backend did not take after all tries, or refused.", func() uint64 { return n.events.Stats().Failed })
	}
	counter("bus_sent_total", "Node messages sent.", func() uint64 { return n.bus.Stats().Sent })
	counter("bus_received_total", "Node messages received.", func() uint64 { return n.bus.Stats().Received })
	counter("bus_unsent_total", "Node messages not sent for want of a connection.", func() uint64 { return n.bus.Stats().Unsent })
	counter("bus_dropped_total", "Node messages dropped because this node could not keep up.", func() uint64 { return n.bus.Stats().Dropped })
	counter("bus_malformed_total", "Node messages that were not of a known version.", func() uint64 { return n.bus.Stats().Malformed })
	counter("calls_strays_total", "Answers of services that nobody waits for: too late, a second one, or for a call of somebody else.", func() uint64 { return n.callBus.Stats().Strays })
	counter("calls_dropped_total", "Answers of services dropped because this node could not keep up: their calls end with their time.", func() uint64 { return n.callBus.Stats().Dropped })
	counter("calls_malformed_total", "Reports of service instances that were none.", func() uint64 { return n.callBus.Stats().Malformed })
	counter("nats_slow_total", "Times that messages of a NATS subject began to be dropped because this node could not keep up; the log says which. Of requests of backends nothing else tells.", n.conn.Slow)
	counter("nats_reconnects_total", "Times that the connection to NATS was lost and made again.", n.conn.Reconnects)
}
