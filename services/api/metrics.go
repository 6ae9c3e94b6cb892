package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/beeline-rt/beeline/contracts"
)

// metrics counts what backends ask for.
type metrics struct {
	operations *prometheus.CounterVec
	replays    prometheus.Counter
	lost       prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "beeline_api_operations_total",
			Help: "Operations of backends, by what they were and how they ended: delivered, sent, ok, or the code of the error. Those of a batch count too.",
		}, []string{"op", "outcome"}),
		replays: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "beeline_api_replays_total", Help: "Requests that were answered with the answer to an earlier one of the same Idempotency-Key.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "beeline_api_answers_lost_total", Help: "Answers to requests with an Idempotency-Key that could not be kept, or were too large to be: who asks again is told unknown, and nothing is done again.",
		}),
	}
}

// ended counts one operation.
func (m *metrics) ended(op contracts.BackendOp, answer contracts.BackendAnswer) {
	outcome := "ok"
	switch ok := answer.OK.(type) {
	case contracts.SendAnswer:
		outcome = string(ok.Status)
	case contracts.PublishAnswer:
		outcome = string(ok.Status)
	case nil:
		outcome = string(answer.Error.Code)
	}
	m.operations.WithLabelValues(string(op), outcome).Inc()
}

// Collectors returns the metrics, for a registry.
func (a *API) Collectors() []prometheus.Collector {
	return []prometheus.Collector{a.metrics.operations, a.metrics.replays, a.metrics.lost}
}
