package otelwaybill_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	_ "modernc.org/sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/otelwaybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// told is what a journey has told of itself.
type told struct {
	spans        tracetest.SpanStubs
	business     trace.SpanContext // of the span in which the messages were sent
	relay, inbox string            // what is served at /metrics
	metrics      metricdata.ResourceMetrics
}

// journey sends two messages through everything: one is handled at the second try, one is
// rejected. Nothing is sent again by itself.
func journey(t *testing.T, nested bool) (all told) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "shop.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", side); err != nil {
			t.Fatal(err)
		}
	}
	kept, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(kept))
	options := &otelwaybill.Options{TracerProvider: provider, MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), Nested: nested}

	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		t.Fatal(err)
	}
	out.Use(otelwaybill.Send(options))
	b, silent := memory.New(nil), slog.New(slog.DiscardHandler)
	in, err := inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	in.Use(otelwaybill.Handle("shipping", options))
	in.Handle("orders", waybill.Once, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
		switch {
		case m.Key == "bad":
			return waybill.Permanent(errors.New("no such order"))
		case m.Attempt == 0:
			return waybill.RetryAfter(time.Millisecond, errors.New("not yet"))
		}
		return nil
	})
	r, err := relay.New(db, sqlite.Dialect(), b, &relay.Options{
		Producer: "shop", Wake: out.Committed(), Observer: otelwaybill.Relay(options), Logger: silent, MinResend: 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := store.NewKeeper(db, sqlite.Dialect(), "", "shipping")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- r.Run(ctx) }()
	go func() { ended <- in.Run(ctx) }()

	work, span := provider.Tracer("test").Start(ctx, "place orders")
	all.business = span.SpanContext()
	err = out.InTx(work, db, func(tx *sql.Tx) error {
		return out.Send(work, tx,
			waybill.Message{Destination: "orders", Key: "good", Headers: map[string]string{"tenant": "a"}},
			waybill.Message{Destination: "orders", Key: "bad"})
	})
	span.End()
	if err != nil {
		t.Fatal(err)
	}
	patience.Until(t, "one message is confirmed and one rejected", func() bool {
		s := r.Stats()
		return s.Confirmed == 1 && s.Rejected == 1 && in.Stats().Receipts == 3 &&
			!slices.ContainsFunc(s.Destinations, func(d relay.DestinationStats) bool { return d.Unconfirmed > 0 })
	})

	counting := &admin.Options{Timeout: time.Hour} // rows are counted at the first look, and waited for
	all.relay, all.inbox = scrape(t, admin.Handler(r, queue, counting)), scrape(t, admin.InboxHandler(in, keeper, counting))
	for _, watch := range []func() (metric.Registration, error){
		func() (metric.Registration, error) { return otelwaybill.WatchRelay(r, queue, options) },
		func() (metric.Registration, error) { return otelwaybill.WatchInbox(in, keeper, options) },
	} {
		watched, err := watch()
		if err != nil {
			t.Fatal(err)
		}
		defer watched.Unregister()
	}
	patience.Until(t, "the outbox's rows are counted and read", func() bool {
		all.metrics = metricdata.ResourceMetrics{}
		if err := reader.Collect(ctx, &all.metrics); err != nil {
			t.Fatal(err)
		}
		return measured(all.metrics, "waybill.outbox.up") == " 1"
	})
	stop()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	all.spans = kept.GetSpans()
	return all
}

// named are the spans of a name.
func named(spans tracetest.SpanStubs, name string) (found []tracetest.SpanStub) {
	for _, s := range spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// value is that of a span's attribute, as text.
func value(s *tracetest.SpanStub, name attribute.Key) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.String()
		}
	}
	return ""
}

func TestAJourneyIsTraced(t *testing.T) {
	told := journey(t, false)
	spans, business := told.spans, told.business
	creates := named(spans, "create orders")
	if len(creates) != 2 {
		t.Fatalf("%d spans of creation, want 2", len(creates))
	}
	created := map[trace.SpanID]string{} // keys by span
	for _, s := range creates {
		if s.Parent.SpanID() != business.SpanID() || s.SpanKind != trace.SpanKindProducer {
			t.Errorf("%v of kind %v, want a producer's span below the business's own", s.Parent, s.SpanKind)
		}
		created[s.SpanContext.SpanID()] = value(&s, "waybill.key")
	}

	sent := map[string]int{}
	for _, s := range named(spans, "send orders") {
		for _, l := range s.Links {
			sent[created[l.SpanContext.SpanID()]]++
		}
	}
	if sent["good"] != 2 || sent["bad"] != 1 || sent[""] > 0 {
		t.Errorf("links of what was sent, by key: %v; want good twice, bad once", sent)
	}

	var processed []string
	for _, s := range named(spans, "process orders") {
		if len(s.Links) != 1 || s.Parent.IsValid() || s.SpanKind != trace.SpanKindConsumer || value(&s, "messaging.consumer.group.name") != "shipping" {
			t.Errorf("a consumer's span has the links %v, the parent %v and the kind %v; want one link and no parent", s.Links, s.Parent, s.SpanKind)
			continue
		}
		processed = append(processed, fmt.Sprint(created[s.Links[0].SpanContext.SpanID()], " ", s.Status.Code, " ", s.Status.Description))
	}
	slices.Sort(processed)
	if got := strings.Join(processed, "; "); got != "bad Error no such order; good Error not yet (retry after 1ms); good Unset " {
		t.Errorf("handled: %s", got)
	}

	settled := map[string]bool{}
	for _, s := range named(spans, "settle orders") {
		if len(s.Links) != 1 || value(&s, "messaging.message.id") == "" {
			t.Errorf("a receipt's span has the links %v and the attributes %v", s.Links, s.Attributes)
			continue
		}
		settled[created[s.Links[0].SpanContext.SpanID()]+" "+value(&s, "waybill.outcome")] = true
		if isError := s.Status.Code == codes.Error; isError != (value(&s, "waybill.outcome") != "done") {
			t.Errorf("a receipt that says %q has the status %v", value(&s, "waybill.outcome"), s.Status)
		}
	}
	if len(settled) != 3 || !settled["good done"] || !settled["good retry"] || !settled["bad rejected"] {
		t.Errorf("settled: %v", settled)
	}
}

// Names, kinds and attributes are those of
// https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/.
func TestSpansFollowTheConventions(t *testing.T) {
	spans := journey(t, false).spans
	ofAll := []attribute.Key{"messaging.system", "messaging.operation.name", "messaging.operation.type", "messaging.destination.name"}
	for operation, want := range map[string]struct {
		kind  trace.SpanKind
		spans int
		has   []attribute.Key
	}{
		"create":  {trace.SpanKindProducer, 2, []attribute.Key{"messaging.message.body.size"}},
		"send":    {trace.SpanKindClient, 2, []attribute.Key{"messaging.batch.message_count"}},
		"process": {trace.SpanKindConsumer, 3, []attribute.Key{"messaging.message.id", "messaging.consumer.group.name", "messaging.message.body.size"}},
		"settle":  {trace.SpanKindClient, 3, []attribute.Key{"messaging.message.id", "messaging.consumer.group.name"}},
	} {
		found := named(spans, operation+" orders")
		if len(found) < want.spans {
			t.Errorf("%d spans are called %s orders, want %d", len(found), operation, want.spans)
		}
		for _, s := range found {
			if s.SpanKind != want.kind {
				t.Errorf("%s is of the kind %v, want %v", s.Name, s.SpanKind, want.kind)
			}
			for _, name := range append(ofAll, want.has...) {
				if value(&s, name) == "" {
					t.Errorf("%s has no %s: %v", s.Name, name, s.Attributes)
				}
			}
			if value(&s, "messaging.operation.name") != operation || value(&s, "messaging.operation.type") != operation || value(&s, "messaging.destination.name") != "orders" {
				t.Errorf("%s has the attributes %v", s.Name, s.Attributes)
			}
			if failed := s.Status.Code == codes.Error; failed != (value(&s, "error.type") != "") {
				t.Errorf("%s has the status %v and the attributes %v: error.type is of those that failed", s.Name, s.Status, s.Attributes)
			}
		}
	}
}

func TestNestedSpansAreOfOneTrace(t *testing.T) {
	told := journey(t, true)
	spans, business := told.spans, told.business
	for _, name := range []string{"create orders", "process orders", "settle orders"} {
		found := named(spans, name)
		if len(found) == 0 {
			t.Errorf("no span is called %s", name)
		}
		for _, s := range found {
			if s.SpanContext.TraceID() != business.TraceID() || len(s.Links) > 0 {
				t.Errorf("%s has the trace %v and %d links; want that of the business, and none", name, s.SpanContext.TraceID(), len(s.Links))
			}
		}
	}
}

func TestAMessageWithAllTheHeadersItMayHaveIsSentUntraced(t *testing.T) {
	full := map[string]string{}
	for i := range waybill.MaxHeaders {
		full[fmt.Sprint("h", i)] = "x"
	}
	send := otelwaybill.Send(&otelwaybill.Options{TracerProvider: sdk.NewTracerProvider()})(
		func(_ context.Context, _ outbox.Tx, messages []waybill.Message) error {
			if len(messages[0].Headers) != len(full) || messages[1].Headers["traceparent"] == "" {
				t.Errorf("sent %d headers, and %v", len(messages[0].Headers), messages[1].Headers)
			}
			return nil
		})
	messages := []waybill.Message{{Destination: "orders", Headers: full}, {Destination: "orders"}}
	if err := send(t.Context(), nil, messages); err != nil {
		t.Fatal(err)
	}
	if messages[1].Headers != nil {
		t.Errorf("the caller's own message was changed: %v", messages[1].Headers)
	}
}

func TestAHandlerThatPanicsHasAnEndedSpan(t *testing.T) {
	for name, handler := range map[string]inbox.Handler{
		"itself":       func(context.Context, *sql.Tx, *waybill.Message) error { panic("no") },
		"in its error": func(context.Context, *sql.Tx, *waybill.Message) error { return (*waybill.DrainError)(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			kept := tracetest.NewInMemoryExporter()
			handle := otelwaybill.Handle("shipping", &otelwaybill.Options{TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(kept))})(handler)
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
				}()
				_ = handle(t.Context(), nil, &waybill.Message{Destination: "orders"})
			}()
			if spans := kept.GetSpans(); len(spans) != 1 || spans[0].Status.Code != codes.Error {
				t.Errorf("spans %v, want one that failed", spans)
			}
		})
	}
}

// brokenPropagator panics over what it is to read.
type brokenPropagator struct{ propagation.TraceContext }

func (brokenPropagator) Extract(context.Context, propagation.TextMapCarrier) context.Context {
	panic("no propagator")
}

func TestAPropagatorThatPanicsBlocksNoFurtherCall(t *testing.T) {
	o := otelwaybill.Relay(&otelwaybill.Options{TracerProvider: sdk.NewTracerProvider(), Propagator: brokenPropagator{}})
	p := relay.Publication{Messages: make([]broker.Message, 1), Results: make([]broker.Result, 1)}
	for range 2 { // the relay takes the first panic, and calls again
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			o.Published(t.Context(), p)
		}()
	}
	o.Answered(t.Context(), []relay.Answer{{ID: waybill.NewID()}})
}

func TestABatchHasOneSpanThatIsLinkedToItsMessages(t *testing.T) {
	for _, nested := range []bool{false, true} {
		t.Run(fmt.Sprint(nested), func(t *testing.T) {
			kept, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
			o := &otelwaybill.Options{
				TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(kept)),
				MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), Nested: nested,
			}
			var messages []*waybill.Message
			for i, from := range []string{
				"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
			} {
				m := &waybill.Message{ID: waybill.NewID(), Destination: "orders", Key: fmt.Sprint(i), Attempt: i}
				if from != "" {
					m.Headers = map[string]string{"traceparent": from}
				}
				messages = append(messages, m)
			}
			within := trace.SpanContext{}
			handle := otelwaybill.HandleBatch("shipping", o)(func(ctx context.Context, _ *sql.Tx, got []*waybill.Message) error {
				within = trace.SpanContextFromContext(ctx)
				if !slices.Equal(got, messages) {
					t.Errorf("the handler got %v, want %v", got, messages)
				}
				return errors.New("no")
			})
			if err := handle(t.Context(), nil, messages); err == nil || err.Error() != "no" {
				t.Errorf("got error %v, want the handler's", err)
			}
			spans := named(kept.GetSpans(), "process orders")
			if len(spans) != 1 {
				t.Fatalf("got %d spans, want one", len(spans))
			}
			s := &spans[0]
			if s.SpanContext.SpanID() != within.SpanID() || s.Parent.IsValid() || s.Status.Code != codes.Error ||
				value(s, "messaging.batch.message_count") != "3" || value(s, "messaging.consumer.group.name") != "shipping" {
				t.Errorf("got %+v, want the handler's own, of no other trace, failed, with three messages", s)
			}
			var linked []string
			for _, l := range s.Links {
				linked = append(linked, fmt.Sprint(l.SpanContext.TraceID(), " ", l.Attributes[0].Value.AsString(), " ", l.Attributes[2].Value.AsInt64()))
			}
			want := []string{
				fmt.Sprint("0af7651916cd43dd8448eb211c80319c ", messages[0].ID, " 0"),
				fmt.Sprint("4bf92f3577b34da6a3ce929d0e0e4736 ", messages[2].ID, " 2"),
			}
			if !slices.Equal(linked, want) {
				t.Errorf("got the links %q, want %q", linked, want)
			}
			var metrics metricdata.ResourceMetrics
			if err := reader.Collect(t.Context(), &metrics); err != nil || len(metrics.ScopeMetrics) != 1 {
				t.Errorf("got the metrics %+v and error %v, want how long it took", metrics, err)
			}
		})
	}
}
