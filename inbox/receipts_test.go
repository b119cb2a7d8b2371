package inbox

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/publish"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestReceiptsThatTheBrokerDoesNotTakeStayAndOneLineSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		in := newInbox(t, sqlite.Dialect(), memory.New(nil), &Options{Consumer: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		blocking := memory.New(nil)
		blocked := connect(t, blocking)
		refusing := connect(t, memory.New(&memory.Options{NoCreate: true}))
		taking := connect(t, memory.New(nil))
		blocking.Hold()
		in.receipts.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID()}})
		began := time.Now()
		for range 3 {
			if !in.receipts.flush(t.Context(), blocked) {
				t.Error("the connection was given up")
			}
		}
		if took := time.Since(began); took != 3*publish.Timeout || in.receipts.count != 1 {
			t.Errorf("got %d receipts left after %v, want 1 after %v", in.receipts.count, took, 3*publish.Timeout)
		}
		if n := strings.Count(log.String(), "out of disk or memory"); n != 1 {
			t.Errorf("got %d lines on it, want 1:\n%s", n, log.String())
		}
		if !in.receipts.flush(t.Context(), taking) || in.receipts.count != 0 {
			t.Errorf("got %d receipts left with a broker that takes them, want 0", in.receipts.count)
		}
		for range 2 { // what is refused is told again, once receipts have been taken
			log.Reset()
			for range 3 {
				in.receipts.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID()}})
				in.receipts.flush(t.Context(), refusing)
			}
			if n := strings.Count(log.String(), "has no queue"); n != 1 || in.receipts.count != 0 || !strings.Contains(log.String(), "queue=ack.shop") {
				t.Errorf("got %d lines that name the queue and %d receipts left, want 1 and 0:\n%s", n, in.receipts.count, log.String())
			}
			in.receipts.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID()}})
			in.receipts.flush(t.Context(), taking)
		}
		if lost := in.Stats().ReceiptsLost; lost != 6 {
			t.Errorf("got %d receipts counted as lost, want 6", lost)
		}
	})
}
