package edge

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beeline-rt/beeline/contracts"
)

// metrics counts what the edge does. Hot counters are kept as children, so that counting is one atomic addition.
type metrics struct {
	messages           prometheus.Counter
	calls              prometheus.Counter
	callOutcomes       map[contracts.CallOutcome]prometheus.Counter
	outcomes           map[contracts.Outcome]prometheus.Counter
	written            prometheus.Counter
	lost               prometheus.Counter
	closes             *prometheus.CounterVec
	refusedConnections prometheus.Counter
	refusedLogins      prometheus.Counter
	directoryErrors    prometheus.Counter
	faults             prometheus.Counter
	arbiterErrors      prometheus.Counter
	fanned             prometheus.Counter
	restored           prometheus.Counter
	missed             prometheus.Counter
	presence           prometheus.Counter
	all                []prometheus.Collector
}

func newMetrics(e *Edge) *metrics {
	m := &metrics{outcomes: map[contracts.Outcome]prometheus.Counter{}, callOutcomes: map[contracts.CallOutcome]prometheus.Counter{}}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "beeline_edge_" + name, Help: help})
		m.all = append(m.all, c)
		return c
	}
	m.messages = counter("messages_total", "Messages read from clients and backends. Each ends in one outcome.")
	m.calls = counter("calls_total", "Calls read from clients. Each ends in one outcome.")
	m.written = counter("deliveries_total", "Frames with a receipt that were written to a recipient's connection.")
	m.lost = counter("deliveries_dropped_total", "Frames with a receipt that a recipient's connection took and could not write.")
	m.refusedConnections = counter("connections_refused_total", "Connections refused before the upgrade.")
	m.refusedLogins = counter("logins_refused_total", "Tokens and names that were refused.")
	m.fanned = counter("group_deliveries_total", "Frames of groups that were queued for members.")
	m.presence = counter("presence_changes_total", "Changes of watched clients that watchers here were told of.")
	m.restored = counter("directory_restored_total", "Times that all records were written anew.")
	m.missed = counter("changes_missed_total", "Times that all routes were forgotten, because changes in another cluster may have been missed.")
	m.arbiterErrors = counter("hook_errors_total", "Questions that the hook did not answer.")
	m.faults = counter("faults_total", "Frames whose handling failed for a fault of the server; their sessions were ended.")
	m.directoryErrors = counter("directory_errors_total", "Calls to the directory that failed.")

	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "beeline_edge_outcomes_total", Help: "Ends of messages, by outcome. Their sum is messages_total less what is in flight.",
	}, []string{"outcome"})
	for _, o := range contracts.Outcomes {
		m.outcomes[o] = outcomes.WithLabelValues(string(o))
	}
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "beeline_edge_call_outcomes_total", Help: "Ends of calls, by outcome. Their sum is calls_total less what is in flight.",
	}, []string{"outcome"})
	for _, o := range contracts.CallOutcomes {
		m.callOutcomes[o] = calls.WithLabelValues(string(o))
	}
	m.closes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "beeline_edge_closes_total", Help: "Connections ended, by close code. 1000: by the client.",
	}, []string{"code"})
	m.all = append(m.all, outcomes, calls, m.closes,
		gauge("sessions", "Connections that are logged in.", func() float64 { return float64(e.Sessions()) }),
		gauge("connections", "Connections, logged in or not.", func() float64 { return float64(e.open.Load()) }),
		count("route_hits_total", "Messages whose way was known.", func() float64 { return float64(e.routes.counters.hits.Load()) }),
		count("lookups_total", "Addresses that the directory was asked for.", func() float64 { return float64(e.routes.counters.lookups.Load()) }),
		count("chased_total", "Messages that came back and were sent again.", func() float64 { return float64(e.routes.counters.chased.Load()) }),
		count("probes_total", "Addresses that the nodes were asked for, because the directory could not be.", func() float64 { return float64(e.routes.counters.probes.Load()) }),
		gauge("nodes", "Nodes that this one takes for alive, those of other clusters too.", func() float64 { return float64(len(e.dir.Alive())) }),
		gauge("untold_nodes", "Nodes that could not be told of a change, and are told later to forget what they know.", func() float64 { return float64(e.debts.count()) }),
		gauge("waiting_bytes", "Bytes of messages that wait for a lookup.", func() float64 { return float64(e.routes.waiting.Load()) }),
	)
	return m
}

func gauge(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "beeline_edge_" + name, Help: help}, f)
}

func count(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "beeline_edge_" + name, Help: help}, f)
}

func (m *metrics) outcome(o contracts.Outcome) { m.outcomes[o].Inc() }

func (m *metrics) delivered(n int) { m.written.Add(float64(n)) }

func (m *metrics) dropped(n int) {
	if n > 0 {
		m.lost.Add(float64(n))
	}
}

func (m *metrics) closed(code contracts.CloseCode) {
	m.closes.WithLabelValues(strconv.Itoa(int(code))).Inc()
}

// Collectors returns the edge's metrics, for a registry.
func (e *Edge) Collectors() []prometheus.Collector { return e.metrics.all }
