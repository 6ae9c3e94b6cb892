package gateway

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connections, bytes, failures, passedOn prometheus.Counter
	probeFailures, cutsHeld                prometheus.Counter
	instancesCut, clientsCut               prometheus.Counter
	refused                                *prometheus.CounterVec
	all                                    []prometheus.Collector
}

func newMetrics(g *Gateway) *metrics {
	m := &metrics{}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "beeline_gateway_" + name, Help: help})
		m.all = append(m.all, c)
		return c
	}
	m.connections = counter("connections_total", "Clients that were connected with an instance.")
	m.bytes = counter("bytes_total", "Bytes passed on, both ways.")
	m.failures = counter("dial_failures_total", "Instances and peers that did not answer in time, or whose certificate does not hold.")
	m.passedOn = counter("passed_on_total", "Clients passed on to a gateway of another cluster.")
	m.probeFailures = counter("probe_failures_total", "Questions whether an instance is ready that it had not answered when the next was due.")
	m.instancesCut = counter("instances_cut_total", "Instances that hung, so that their clients were cut off.")
	m.clientsCut = counter("clients_cut_total", "Clients that were cut off, since their instance hung.")
	m.cutsHeld = counter("cuts_held_total", "Times that more than half of the instances were silent at once, so that nobody was cut off.")
	m.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "beeline_gateway_refused_total", Help: "Clients that were not let in, by the status they were answered with.",
	}, []string{"status"})
	m.all = append(m.all, m.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "beeline_gateway_connections", Help: "Clients that are proxied now.",
	}, func() float64 { return float64(g.Connections()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "beeline_gateway_instances", Help: "Instances of this cluster that the gateway knows.",
	}, func() float64 { return float64(len(g.o.Fleet.Instances())) }))
	return m
}

// Collectors returns the gateway's metrics, for a registry.
func (g *Gateway) Collectors() []prometheus.Collector { return g.metrics.all }
