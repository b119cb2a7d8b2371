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
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	_ "modernc.org/sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/otelwaybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// journey sends two messages through everything: one is handled at the second try, one is
// rejected. It returns the spans.
func journey(t *testing.T, nested bool) (spans tracetest.SpanStubs, business trace.SpanContext) {
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
	kept := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(kept))
	options := &otelwaybill.Options{TracerProvider: provider, Nested: nested}

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
	r, err := relay.New(db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", Wake: out.Committed(), Observer: otelwaybill.Relay(options), Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- r.Run(ctx) }()
	go func() { ended <- in.Run(ctx) }()

	work, span := provider.Tracer("test").Start(ctx, "place orders")
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
		return s.Confirmed == 1 && s.Rejected == 1
	})
	stop()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return kept.GetSpans(), span.SpanContext()
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
	spans, business := journey(t, false)
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
	if sent["good"] < 2 || sent["bad"] < 1 || sent[""] > 0 {
		t.Errorf("links of what was sent, by key: %v; want good twice at least, bad once", sent)
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
	processed = slices.Compact(processed) // a copy more, on a slow machine
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

func TestNestedSpansAreOfOneTrace(t *testing.T) {
	spans, business := journey(t, true)
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
	kept := tracetest.NewInMemoryExporter()
	handle := otelwaybill.Handle("shipping", &otelwaybill.Options{TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(kept))})(
		func(context.Context, *sql.Tx, *waybill.Message) error { panic("no") })
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
}
