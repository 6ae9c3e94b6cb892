package registry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beeline-rt/beeline/contracts"
)

// metrics counts what the registry does.
type metrics struct {
	answered      prometheus.Counter
	refusals      *prometheus.CounterVec
	unread        prometheus.Counter
	refused       prometheus.Counter
	arbiterErrors prometheus.Counter
	all           []prometheus.Collector
}

func newMetrics(r *Registry) *metrics {
	m := &metrics{}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "beeline_registry_" + name, Help: help})
		m.all = append(m.all, c)
		return c
	}
	m.answered = counter("connections_total", "Requests that were answered with addresses.")
	m.unread = counter("fleet_errors_total", "Times that a fleet could not be read.")
	m.refused = counter("updates_refused_total", "Updates not acted on because they would lose more than half of a fleet at once.")
	m.arbiterErrors = counter("hook_errors_total", "Questions that the hook did not answer.")
	m.refusals = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "beeline_registry_refusals_total", Help: "Requests that were refused, by the code of the error.",
	}, []string{"code"})
	for code := range statuses {
		m.refusals.WithLabelValues(string(code))
	}
	m.all = append(m.all, m.refusals)
	for cluster := range r.opts.Fleets {
		gauge := func(name, help string, f func() float64) {
			m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "beeline_registry_" + name, Help: help, ConstLabels: prometheus.Labels{"cluster": string(cluster)},
			}, f))
		}
		gauge("instances", "Instances that count.", func() float64 { all, _ := r.board.fitness(cluster); return float64(all) })
		gauge("instances_fit", "Instances that clients may be sent to.", func() float64 { _, fit := r.board.fitness(cluster); return float64(fit) })
		gauge("update_held", "1 while an update is not acted on because it would lose more than half the fleet at once.", func() float64 {
			return r.held(cluster)
		})
		gauge("fleet_unread_seconds", "How long the fleet could not be read; 0 while it can.", func() float64 { return r.unreadFor(cluster).Seconds() })
	}
	return m
}

func (r *Registry) held(cluster contracts.ClusterName) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.views[cluster].Held() {
		return 1
	}
	return 0
}

func (r *Registry) unreadFor(cluster contracts.ClusterName) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := r.views[cluster].UnreadSince(); !since.IsZero() {
		return time.Since(since)
	}
	return 0
}

// Collectors returns the metrics.
func (r *Registry) Collectors() []prometheus.Collector { return r.metrics.all }
