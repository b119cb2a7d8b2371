package otelwaybill

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/figure"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// WatchRelay has the figures of a relay, and of queue, its outbox's tables, observed whenever
// metrics are read: waybill.relay.published, waybill.destination.unconfirmed,
// waybill.outbox.oldest_age and the others that package promwaybill has, by names with dots and
// units in place of suffixes. Values of attributes are bounded as there. The time from sent to
// confirmed is a histogram that the observer of Relay records, waybill.relay.confirmation.
//
// Rows are counted in the background, as seldom as every five seconds. Unregister ends it.
func WatchRelay(r *relay.Relay, queue *store.Queue, o *Options) (metric.Registration, error) {
	return watch(figure.NewRelay(r, figure.NewRows(queue, 0), 0), o)
}

// WatchInbox has the figures of an inbox, and of what its consumer keeps, observed likewise.
func WatchInbox(in *inbox.Inbox, keeper *store.Keeper, o *Options) (metric.Registration, error) {
	return watch(figure.NewInbox(in, figure.NewKept(keeper, 0)), o)
}

func (o *Options) meter() metric.Meter {
	if o == nil || o.MeterProvider == nil {
		return otel.GetMeterProvider().Meter(scope)
	}
	return o.MeterProvider.Meter(scope)
}

// attributes are what the labels of figures are called here.
var attributes = map[string]attribute.Key{
	"destination": destinationName,
	"type":        "waybill.destination.type",
	"consumer":    consumerGroup,
	"status":      "waybill.status",
}

func watch(source figure.Source, o *Options) (metric.Registration, error) {
	meter := o.meter()
	counters, gauges := map[*figure.Family]metric.Int64ObservableCounter{}, map[*figure.Family]metric.Float64ObservableGauge{}
	var all []metric.Observable
	for _, f := range source.Families() {
		switch f.Kind {
		case figure.Counter:
			c, err := meter.Int64ObservableCounter("waybill."+f.Name, metric.WithDescription(f.Help), metric.WithUnit(f.Unit))
			if err != nil {
				return nil, err
			}
			counters[f], all = c, append(all, c)
		case figure.Gauge:
			g, err := meter.Float64ObservableGauge("waybill."+f.Name, metric.WithDescription(f.Help), metric.WithUnit(f.Unit))
			if err != nil {
				return nil, err
			}
			gauges[f], all = g, append(all, g)
		case figure.Histogram: // an observer records it
		}
	}
	return meter.RegisterCallback(func(ctx context.Context, to metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, observeLimit)
		defer cancel()
		for _, f := range source.Read(ctx) {
			var at []attribute.KeyValue
			for i, label := range f.Labels {
				at = append(at, attributes[label].String(f.At[i]))
			}
			if c := counters[f.Family]; c != nil {
				to.ObserveInt64(c, int64(f.Value), metric.WithAttributes(at...))
			} else if g := gauges[f.Family]; g != nil {
				to.ObserveFloat64(g, f.Value, metric.WithAttributes(at...))
			}
		}
		return nil
	}, all...)
}

// observeLimit bounds how long one observation waits for a database.
const observeLimit = 5 * time.Second

// confirmation is the histogram of the time that messages took to be confirmed.
func confirmation(o *Options) metric.Float64Histogram {
	var bounds []float64
	for _, b := range relay.LatencyBounds() {
		bounds = append(bounds, b.Seconds())
	}
	f := &figure.Confirmation
	return histogram(o, "waybill."+f.Name, f.Help, bounds)
}

// processDuration is the histogram of the time that handlers take, by the conventions:
// https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/
func processDuration(o *Options) metric.Float64Histogram {
	return histogram(o, "messaging.process.duration", "Duration of processing operation.",
		[]float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10})
}

// histogram makes a histogram of times, or one that records nothing where that fails: messages
// are traced all the same.
func histogram(o *Options, name, about string, bounds []float64) metric.Float64Histogram {
	h, err := o.meter().Float64Histogram(name, metric.WithDescription(about), metric.WithUnit(figure.Seconds), metric.WithExplicitBucketBoundaries(bounds...))
	if err != nil {
		otel.Handle(err)
		return noop.Float64Histogram{}
	}
	return h
}
