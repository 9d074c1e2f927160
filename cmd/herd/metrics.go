package main

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"herd/node/opshttp"
)

// metrics are the metrics of the process: its servers, its sources of places, the Go
// runtime and the operating system. The registry is its own, so that an imported
// package cannot add metrics.
type metrics struct {
	registry *prometheus.Registry
	calls    *prometheus.HistogramVec
	errors   *prometheus.CounterVec
	refused  *prometheus.CounterVec
}

// newMetrics makes the metrics. logDropped is how many lines of the log were lost.
func newMetrics(logDropped func() uint64) metrics {
	m := metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "herd_places_call_duration_seconds", Help: "Duration of each call to a source of places. A retry is a call, an answer from the cache is not.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"source"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "herd_places_errors_total", Help: "Calls to a source of places that failed; cancelled calls are not counted.",
		}, []string{"source"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "herd_places_refused_total", Help: "Queries to a web service of places that were refused because too many wait.",
		}, []string{"source"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "herd_build_info", Help: "1, with the versions that the program was built from as labels.",
		ConstLabels: prometheus.Labels{"version": version(), "goversion": runtime.Version()},
	})
	build.Set(1)
	dropped := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "herd_log_lines_dropped_total", Help: "Lines of the log that were lost because standard error did not accept them.",
	}, func() float64 { return float64(logDropped()) })
	m.registry.MustRegister(m.calls, m.errors, m.refused, build, dropped, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// servers adds the servers of the process.
func (m metrics) servers(servers ...opshttp.Server) {
	m.registry.MustRegister(opshttp.Metrics(servers...))
}

// refusedPlaces returns the function that counts queries that a source of places refuses.
func (m metrics) refusedPlaces(source string) func() { return m.refused.WithLabelValues(source).Inc }

// observePlaces returns the function that counts the calls to a source of places.
func (m metrics) observePlaces(source string) func(took time.Duration, err error) {
	calls, failed := m.calls.WithLabelValues(source), m.errors.WithLabelValues(source)
	return func(took time.Duration, err error) {
		calls.Observe(took.Seconds())
		if err != nil && !errors.Is(err, context.Canceled) {
			failed.Inc()
		}
	}
}
