// Package otelwaybill traces and measures messages with OpenTelemetry. Traces are by its
// conventions for messaging
// (https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/, which are in
// development, and may change):
//
//	create orders    Send has written the message; its context travels in the message's headers
//	send orders      a relay has handed a batch of messages to the broker
//	process orders   a consumer's handler
//	settle orders    a consumer's receipt has reached the relay
//
// A service traces what it sends and handles with two lines, and its relay with a third:
//
//	out.Use(otelwaybill.Send(nil))
//	in.Use(otelwaybill.Handle("shipping", nil))
//	relay.Options{Observer: otelwaybill.Relay(nil)}
//
// Handlers of batches have middleware of their own: in.UseBatch(otelwaybill.HandleBatch("shipping", nil)).
//
// Between services, spans are linked and not nested by default, as the conventions have it: a
// message may be handled hours after it was sent, and several times, and a trace that stays
// open for so long is shown well by nothing. Options.Nested puts a consumer's spans below the
// producer's.
//
// WatchRelay and WatchInbox have the figures of a relay and an inbox observed as metrics.
//
// It is a module of its own and imports OpenTelemetry's API alone: without providers that
// the program sets up, all of it costs next to nothing.
package otelwaybill

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/outbox"
)

// Options say where spans and metrics go; nil and the zero value hold the defaults.
type Options struct {
	// TracerProvider makes the spans. Default otel.GetTracerProvider().
	TracerProvider trace.TracerProvider
	// MeterProvider makes the instruments. Default otel.GetMeterProvider().
	MeterProvider metric.MeterProvider
	// Propagator writes and reads the contexts in the messages' headers. Default
	// propagation.TraceContext: the headers traceparent and tracestate.
	Propagator propagation.TextMapPropagator
	// Nested makes the producer's span the parent of the consumer's, where it is only
	// linked otherwise.
	Nested bool
}

// scope is the name of the library that makes the spans and instruments.
const scope = "github.com/waybill-go/waybill/otelwaybill"

// tracing is Options with their defaults, and the tracer.
type tracing struct {
	trace.Tracer
	propagation.TextMapPropagator
	nested bool
}

func newTracing(o *Options) tracing {
	c := Options{}
	if o != nil {
		c = *o
	}
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.Propagator == nil {
		c.Propagator = propagation.TraceContext{}
	}
	return tracing{c.TracerProvider.Tracer(scope), c.Propagator, c.Nested}
}

// The names of attributes, of the conventions and our own.
const (
	system          = attribute.Key("messaging.system")
	operationName   = attribute.Key("messaging.operation.name")
	operationType   = attribute.Key("messaging.operation.type")
	destinationName = attribute.Key("messaging.destination.name")
	consumerGroup   = attribute.Key("messaging.consumer.group.name")
	messageID       = attribute.Key("messaging.message.id")
	batchCount      = attribute.Key("messaging.batch.message_count")
	bodySize        = attribute.Key("messaging.message.body.size")
	key             = attribute.Key("waybill.key")
	attempt         = attribute.Key("waybill.attempt")
	outcome         = attribute.Key("waybill.outcome")
	errorType       = attribute.Key("error.type")
)

// about are the attributes of every span.
func about(operation, kind, destination string) []attribute.KeyValue {
	return []attribute.KeyValue{
		system.String("waybill"), operationName.String(operation), operationType.String(kind), destinationName.String(destination),
	}
}

// Send is middleware for an outbox: each message gets a span of its own, whose context
// travels with it. A message that has a context in its headers already, as one that a
// handler sends on unchanged, gets the new one.
func Send(o *Options) func(outbox.Sender) outbox.Sender {
	t := newTracing(o)
	return func(next outbox.Sender) outbox.Sender {
		return func(ctx context.Context, tx outbox.Tx, messages []waybill.Message) error {
			messages = slices.Clone(messages)
			spans := make([]trace.Span, len(messages))
			for i := range messages {
				m := &messages[i]
				attributes := append(about("create", "create", m.Destination), bodySize.Int(len(m.Body)))
				if m.Key != "" {
					attributes = append(attributes, key.String(m.Key))
				}
				own, span := t.Start(ctx, "create "+m.Destination, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes...))
				spans[i] = span
				carrier := propagation.MapCarrier{}
				maps.Copy(carrier, m.Headers)
				t.Inject(own, carrier)
				if waybill.CheckHeaders(carrier) == nil { // else the message has as many as it may
					m.Headers = carrier
				}
			}
			err := next(ctx, tx, messages)
			for _, span := range spans {
				end(span, err)
			}
			return err
		}
	}
}

// Handle is middleware for an inbox of this consumer: a span around each call of a
// handler, with the handler's verdict. How long the call took is recorded in the histogram
// messaging.process.duration.
func Handle(consumer string, o *Options) func(inbox.Handler) inbox.Handler {
	p := newProcessing(consumer, o)
	return func(next inbox.Handler) inbox.Handler {
		return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			ctx, span := p.startFrom(ctx, "process "+m.Destination, propagation.MapCarrier(m.Headers),
				append(p.about(m.Destination), bodySize.Int(len(m.Body)), messageID.String(m.ID.String()), key.String(m.Key), attempt.Int(m.Attempt)))
			return p.run(ctx, span, m.Destination, func() error { return next(ctx, tx, m) })
		}
	}
}

// HandleBatch is Handle for handlers of batches, by inbox.Inbox.UseBatch: a span around each
// call, with the number of messages, and linked to the contexts of all of them, also where
// spans are nested: it may be in one trace alone.
func HandleBatch(consumer string, o *Options) func(inbox.BatchHandler) inbox.BatchHandler {
	p := newProcessing(consumer, o)
	return func(next inbox.BatchHandler) inbox.BatchHandler {
		return func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
			destination := messages[0].Destination
			links := make([]trace.Link, 0, len(messages))
			for _, m := range messages {
				if _, from, ok := p.senderOf(ctx, propagation.MapCarrier(m.Headers)); ok {
					links = append(links, trace.Link{SpanContext: from, Attributes: []attribute.KeyValue{
						messageID.String(m.ID.String()), key.String(m.Key), attempt.Int(m.Attempt),
					}})
				}
			}
			ctx, span := p.Start(ctx, "process "+destination, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
				trace.WithAttributes(append(p.about(destination), batchCount.Int(len(messages)))...))
			return p.run(ctx, span, destination, func() error { return next(ctx, tx, messages) })
		}
	}
}

// processing is what traces and measures a consumer's handlers.
type processing struct {
	tracing
	took     metric.Float64Histogram
	consumer string
}

func newProcessing(consumer string, o *Options) *processing {
	return &processing{newTracing(o), processDuration(o), consumer}
}

// about are the attributes of every call.
func (p *processing) about(destination string) []attribute.KeyValue {
	return append(about("process", "process", destination), consumerGroup.String(p.consumer))
}

// run calls a handler, ends its span and records how long it took.
func (p *processing) run(ctx context.Context, span trace.Span, destination string, call func() error) error {
	began, ended := time.Now(), false
	of := p.about(destination)
	defer func() {
		if !ended { // it panics, or ends its goroutine
			of = append(of, errorType.String("panic"))
			span.SetAttributes(errorType.String("panic"))
			span.SetStatus(codes.Error, "the handler did not return")
			span.End()
		}
		p.took.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(of...))
	}()
	err := call()
	end(span, err) // which panics where the error's methods do
	if ended = true; err != nil {
		of = append(of, typeOf(err))
	}
	return err
}

// startFrom starts a consumer's span, linked to the context in headers or below it.
func (t tracing) startFrom(ctx context.Context, name string, headers propagation.TextMapCarrier, attributes []attribute.KeyValue) (context.Context, trace.Span) {
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...)}
	if sender, from, ok := t.senderOf(ctx, headers); ok {
		if t.nested {
			return t.Start(sender, name, options...)
		}
		options = append(options, trace.WithLinks(trace.Link{SpanContext: from}))
	}
	return t.Start(ctx, name, options...)
}

// senderOf returns the context in headers, where there is one.
func (t tracing) senderOf(ctx context.Context, headers propagation.TextMapCarrier) (sender context.Context, from trace.SpanContext, ok bool) {
	sender = t.Extract(ctx, headers)
	from = trace.SpanContextFromContext(sender)
	return sender, from, from.IsValid() && from.IsRemote()
}

// typeOf is an error's Go type as an attribute: its text has no bound.
func typeOf(err error) attribute.KeyValue { return errorType.String(fmt.Sprintf("%T", err)) }

// end ends a span with what came out.
func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetAttributes(typeOf(err))
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
