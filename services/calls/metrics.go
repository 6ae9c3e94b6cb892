package calls

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters count what is about all services.
type counters struct{ deaths, retries, ejections, doubles, ignored atomic.Uint64 }

// Collectors returns the dispatcher's metrics, for a registry.
func (d *Dispatcher) Collectors() []prometheus.Collector {
	count := func(name, help string, f func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "beeline_calls_" + name, Help: help}, func() float64 { return float64(f()) })
	}
	return []prometheus.Collector{
		count("deaths_total", "Instances of services that were found gone.", d.counters.deaths.Load),
		count("retries_total", "Times that a call was sent again, to another instance.", d.counters.retries.Load),
		count("ejections_total", "Times that an instance was given nothing new because its calls failed.", d.counters.ejections.Load),
		count("doubles_total", "Reports of an instance beside those of a later start of it: two processes run under one id.", d.counters.doubles.Load),
		count("ignored_total", "Reports of instances that get no calls, since there are too many, or their service is configured to have addresses.", d.counters.ignored.Load),
		&fleet{d},
	}
}

// fleet shows the services and their instances.
type fleet struct{ d *Dispatcher }

var (
	descInFlight  = prometheus.NewDesc("beeline_calls_in_flight", "Calls of this node that wait for their outcome.", []string{"service"}, nil)
	descMoved     = prometheus.NewDesc("beeline_calls_moved_keys_total", "Keys that have moved to another instance, as this node saw it.", []string{"service"}, nil)
	descInstances = prometheus.NewDesc("beeline_calls_instances", "Instances of the service, by state.", []string{"service", "state"}, nil)
	descOpen      = prometheus.NewDesc("beeline_calls_open_instances", "Instances of all services that get what is new.", nil, nil)
	descKeys      = prometheus.NewDesc("beeline_calls_keys", "Message keys that this node remembers.", nil, nil)
)

// Describe says which metrics there are.
func (*fleet) Describe(out chan<- *prometheus.Desc) {
	out <- descInFlight
	out <- descMoved
	out <- descInstances
	out <- descOpen
	out <- descKeys
}

// Collect reads them.
func (f *fleet) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	all := 0
	for name, s := range *f.d.services.Load() {
		open, draining, gone := s.census()
		all += open
		gauge(descInFlight, float64(s.inFlight.Load()), string(name))
		out <- prometheus.MustNewConstMetric(descMoved, prometheus.CounterValue, float64(s.moved.Load()), string(name))
		gauge(descInstances, float64(open), string(name), "open")
		gauge(descInstances, float64(draining), string(name), "draining")
		gauge(descInstances, float64(gone), string(name), "gone")
	}
	gauge(descOpen, float64(all))
	gauge(descKeys, float64(f.d.bindings.len()))
}

// census counts the instances.
func (s *service) census() (open, draining, gone int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		switch {
		case !i.fit.Load():
			gone++
		case i.draining.Load():
			draining++
		default:
			open++
		}
	}
	return open, draining, gone
}

func (b *bindings) len() (n int) {
	for i := range b.parts {
		p := &b.parts[i]
		p.mu.Lock()
		n += len(p.known)
		p.mu.Unlock()
	}
	return n
}
