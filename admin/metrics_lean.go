//go:build waybill_lean && !waybill_prometheus

package admin

import (
	"context"
	"net/http"

	"github.com/waybill-go/waybill/internal/figure"
)

// metrics serves the figures of a source as text, without Prometheus' client, which makes a
// small command an eighth larger.
func metrics(source figure.Source, o *Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), o.Timeout)
		defer cancel()
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(figure.Text(append(source.Read(ctx), figure.Build(o.Version)))) // a client that has gone needs no answer
	})
}
