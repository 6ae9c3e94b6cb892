package gateway

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connections, bytes, failures, passedOn prometheus.Counter
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
	m.failures = counter("dial_failures_total", "Instances and peers that did not answer in time.")
	m.passedOn = counter("passed_on_total", "Clients passed on to a gateway of another cluster.")
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
