package otelwaybill

import (
	"context"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/recent"
	"github.com/waybill-go/waybill/relay"
)

const (
	// maxTraced is how many messages a relay's Observer remembers the contexts of: a receipt
	// for one that was sent before these has no span. One takes about 200 bytes.
	maxTraced = 20_000
	// maxLinks is how many links a span has at most: by default OpenTelemetry's SDK drops
	// those beyond it.
	maxLinks = 128
)

// Relay is an observer for a relay: a span for each batch that is handed to the broker,
// linked to the spans of its messages, and one for each receipt. Only messages whose senders
// have traced them, and whose traces are sampled, have part in them. It records the histogram
// waybill.relay.confirmation of all messages: the time from when a message was sent, or due,
// to when its consumers had confirmed it, by the database's clock.
func Relay(o *Options) relay.Observer {
	r := &observer{tracing: newTracing(o)}
	r.confirmation = confirmation(o)
	r.sent.Most = maxTraced
	return r
}

type observer struct {
	tracing
	confirmation metric.Float64Histogram

	mu   sync.Mutex
	sent recent.Map[waybill.ID, trace.SpanContext] // where a receipt may come
}

// headers are a message's, for a propagator that reads them.
type headers []broker.Header

func (h headers) Get(name string) string {
	for i := range h {
		if h[i].Name == name {
			return h[i].Value
		}
	}
	return ""
}

func (h headers) Keys() []string {
	names := make([]string, len(h))
	for i := range h {
		names[i] = h[i].Name
	}
	return names
}

func (h headers) Set(string, string) {}

var _ propagation.TextMapCarrier = headers{}

// Published implements relay.Observer.
func (r *observer) Published(_ context.Context, p relay.Publication) {
	links, traced, failed, problem := r.note(&p)
	if traced == 0 {
		return
	}
	_, span := r.Start(context.Background(), "send "+p.Destination, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(p.Began),
		trace.WithLinks(links...), trace.WithAttributes(append(about("send", "send", p.Destination), batchCount.Int(traced))...))
	if failed > 0 {
		span.RecordError(problem)
		span.SetAttributes(typeOf(problem))
		span.SetStatus(codes.Error, fmt.Sprintf("%d of %d not taken: %v", failed, traced, problem))
	}
	span.End()
}

// note remembers the contexts of messages that were handed to the broker. It counts those that
// have one, and those of them that have failed, and returns links to the first, and a failure.
func (r *observer) note(p *relay.Publication) (links []trace.Link, traced, failed int, problem error) {
	r.mu.Lock()
	defer r.mu.Unlock() // the propagator may panic
	for i := range p.Messages {
		from := trace.SpanContextFromContext(r.Extract(context.Background(), headers(p.Messages[i].Headers)))
		if !from.IsSampled() {
			continue
		}
		if traced++; len(links) < maxLinks {
			links = append(links, trace.Link{SpanContext: from})
		}
		if err := p.Results[i].Err; err != nil {
			failed, problem = failed+1, err
		}
		if id, err := waybill.ParseID(headers(p.Messages[i].Headers).Get("messageId")); err == nil {
			r.sent.Set(id, from)
		}
	}
	return links, traced, failed, problem
}

// Answered implements relay.Observer.
func (r *observer) Answered(_ context.Context, all []relay.Answer) {
	for _, a := range all {
		if a.Last {
			r.confirmation.Record(context.Background(), a.Took.Seconds())
		}
		r.mu.Lock()
		from, known := r.sent.Get(a.ID)
		if a.Last || a.Outcome == waybill.Rejected {
			r.sent.Delete(a.ID)
		}
		r.mu.Unlock()
		if !known {
			continue
		}
		ctx, options := context.Background(), []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(append(about("settle", "settle", a.Destination),
				consumerGroup.String(a.Consumer), messageID.String(a.ID.String()), outcome.String(string(a.Outcome)))...)}
		if r.nested {
			ctx = trace.ContextWithRemoteSpanContext(ctx, from)
		} else {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: from}))
		}
		_, span := r.Start(ctx, "settle "+a.Destination, options...)
		if a.Outcome != waybill.Done {
			span.SetAttributes(errorType.String(string(a.Outcome)))
			span.SetStatus(codes.Error, a.Error)
		}
		span.End()
	}
}
