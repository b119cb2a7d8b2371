package otelwaybill_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/otelwaybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store/sqlite"
)

// The three lines that trace what a service sends, what its relay does with it, and what
// another service handles. Spans go where otel.SetTracerProvider says.
func Example() {
	db, err := sql.Open("sqlite", "file:shop.db?mode=memory")
	if err != nil {
		log.Fatal(err)
	}
	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		log.Fatal(err)
	}
	out.Use(otelwaybill.Send(nil))

	r, err := relay.New(db, sqlite.Dialect(), memory.New(nil), &relay.Options{Producer: "shop", Observer: otelwaybill.Relay(nil)})
	if err != nil {
		log.Fatal(err)
	}

	in, err := inbox.New(db, sqlite.Dialect(), memory.New(nil), &inbox.Options{Consumer: "shipping"})
	if err != nil {
		log.Fatal(err)
	}
	in.Use(otelwaybill.Handle("shipping", nil))
	in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		return nil // ctx has the handler's span
	})
	fmt.Println(r.Stats().Published, in.Stats().Handled)
	// Output: 0 0
}

// A handler finds what came with the message: here it asks for the trace of its sender.
func ExampleHandle() {
	handle := otelwaybill.Handle("shipping", &otelwaybill.Options{Nested: true})(
		func(ctx context.Context, _ *sql.Tx, m *waybill.Message) error {
			fmt.Println(trace.SpanContextFromContext(ctx).TraceID())
			return nil
		})
	m := &waybill.Message{Destination: "orders", Headers: propagation.MapCarrier{
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	if err := handle(context.Background(), nil, m); err != nil {
		log.Fatal(err)
	}
	// Output: 0af7651916cd43dd8448eb211c80319c
}
