package registryserver

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminHandler serves metrics, and what a load balancer asks: healthz, the process runs; readyz, it can answer. What an
// operator should know is in the body of readyz, with status 200 too.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		reasons, notices := s.registry.Ready()
		if len(reasons) > 0 {
			http.Error(w, strings.Join(append(reasons, notices...), "; "), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(strings.Join(append([]string{"ready"}, notices...), "; ") + "\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{Registry: s.metrics}))
	return mux
}

func (s *Server) register() {
	s.metrics = prometheus.NewRegistry()
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics.MustRegister(s.registry.Collectors()...)
}

// Metrics are what /metrics shows.
func (s *Server) Metrics() prometheus.Gatherer { return s.metrics }
