package inbox

import (
	"errors"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/wire"
)

func TestWhatTheAdapterCouldNotReadIsAProblemOfTheMessage(t *testing.T) {
	problem := errors.New("a body that the protocol does not show")
	id := waybill.NewID()
	d := broker.Delivery{Problem: problem, Message: broker.Message{Destination: "orders", Headers: []broker.Header{
		{Name: wire.MessageID, Value: id.String()}, {Name: wire.ReceiptTo, Value: "ack.shop"},
	}}}
	x := newItem(&d, nil, nil, waybill.Once, func(producer, _ string) string { return producer })
	if !errors.Is(x.problem, problem) || x.Message.ID != id || x.ReceiptTo != "ack.shop" {
		t.Errorf("got the problem %v, the id %v and receipts to %q; want the adapter's problem, and that it can be answered", x.problem, x.Message.ID, x.ReceiptTo)
	}
}
