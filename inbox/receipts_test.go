package inbox

import (
	"context"
	"database/sql"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/publish"
	"github.com/waybill-go/waybill/store/sqlite"
)

// connect connects to a broker.
func connect(t *testing.T, b broker.Broker) broker.Conn {
	t.Helper()
	conn, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestReceiptsThatTheBrokerDoesNotTakeStayAndOneLineSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		in, err := New(new(sql.DB), sqlite.Dialect(), memory.New(nil), &Options{Consumer: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		blocking := memory.New(nil)
		blocked := connect(t, blocking)
		refusing := connect(t, memory.New(&memory.Options{NoCreate: true}))
		taking := connect(t, memory.New(nil))
		blocking.Hold()
		in.out.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID()}})
		began := time.Now()
		for range 3 {
			if !in.out.flush(t.Context(), blocked) {
				t.Error("the connection was given up")
			}
		}
		if took := time.Since(began); took != 3*publish.Timeout || in.out.count != 1 {
			t.Errorf("after %v %d receipts are left, want 1 after %v", took, in.out.count, 3*publish.Timeout)
		}
		if n := strings.Count(log.String(), "out of disk or memory"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		if !in.out.flush(t.Context(), taking) || in.out.count != 0 {
			t.Errorf("%d receipts are left with a broker that takes them", in.out.count)
		}
		for range 2 { // what is refused is told again, once receipts have been taken
			log.Reset()
			for range 3 {
				in.out.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID()}})
				in.out.flush(t.Context(), refusing)
			}
			if n := strings.Count(log.String(), "has no queue"); n != 1 || in.out.count != 0 || !strings.Contains(log.String(), "queue=ack.shop") {
				t.Errorf("said %d times with %d receipts left:\n%s", n, in.out.count, log.String())
			}
			in.out.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID()}})
			in.out.flush(t.Context(), taking)
		}
		if lost := in.Stats().ReceiptsLost; lost != 6 {
			t.Errorf("%d receipts were counted as lost", lost)
		}
	})
}
