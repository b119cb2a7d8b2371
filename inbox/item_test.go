package inbox

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestWhatTheAdapterCouldNotReadIsAProblemOfTheMessage(t *testing.T) {
	problem := errors.New("a body that the protocol does not show")
	id := waybill.NewID()
	d := broker.Delivery{Problem: problem, Message: broker.Message{Destination: "orders", Headers: []broker.Header{
		{Name: wire.MessageID, Value: id.String()}, {Name: wire.ReceiptTo, Value: "ack.shop"},
	}}}
	x := newItem(&d, nil, nil, waybill.Once, func(producer, _ string, _ bool) string { return producer })
	if !errors.Is(x.problem, problem) || x.Message.ID != id || x.ReceiptTo != "ack.shop" {
		t.Errorf("got the problem %v, the id %v and receipts to %q; want the adapter's problem, and that it can be answered", x.problem, x.Message.ID, x.ReceiptTo)
	}
}

func TestWhatTheAdapterCouldNotReadIsNotHandledFromWhereItIsKept(t *testing.T) {
	in := newInbox(t, sqlite.Dialect(), memory.New(nil), &Options{Consumer: "shipping"})
	in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
	r := in.routes[0]
	for _, problem := range []error{nil, errors.New("a body that the protocol does not show")} {
		d := broker.Delivery{Problem: problem, Message: broker.Message{Destination: "orders", Body: []byte("part"), Headers: []broker.Header{
			{Name: wire.MessageID, Value: waybill.NewID().String()}, {Name: "kind", Value: "order"},
		}}}
		x := newItem(&d, nil, nil, waybill.Once, in.ledger.Source)
		k := x.asKept(store.Pending, 0, errors.New("rejected"))
		again := r.keptItem(&k)
		if again.Message.ID != x.Message.ID || string(again.Message.Body) != "part" || again.Message.Headers["kind"] != "order" {
			t.Errorf("got %+v, want the message as it was", again.Message)
		}
		if got := again.problem; (got == nil) != (problem == nil) || got != nil && got.Error() != problem.Error() {
			t.Errorf("got the problem %v, want %v as before", got, problem)
		}
	}
}
