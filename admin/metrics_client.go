//go:build !waybill_lean || waybill_prometheus

package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waybill-go/waybill/internal/figure"
	"github.com/waybill-go/waybill/internal/figure/collector"
)

// metrics serves the figures of a source in the formats that Prometheus asks for, by a registry
// of its own.
func metrics(source figure.Source, o *Options) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector.Build(o.Version), collector.New(source, o.Timeout))
	// What is sound is served where something is not.
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}
