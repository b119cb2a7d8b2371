package inbox

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/store/sqlite"
)

// blocked is a connection to a broker that takes nothing from those who publish, and
// full one to a broker that says so.
type (
	blocked struct{ broker.Conn }
	full    struct{ broker.Conn }
)

func (blocked) Publish(ctx context.Context, messages []broker.Message, _ waybill.Transport) ([]broker.Result, error) {
	<-ctx.Done()
	results := make([]broker.Result, len(messages))
	for i := range results {
		results[i].Err = ctx.Err()
	}
	return results, nil
}

func (full) Publish(_ context.Context, messages []broker.Message, _ waybill.Transport) ([]broker.Result, error) {
	results := make([]broker.Result, len(messages))
	for i := range results {
		results[i] = broker.Result{Fate: broker.Refused, Err: errors.New("no room")}
	}
	return results, nil
}

func TestReceiptsThatTheBrokerDoesNotTakeStayAndOneLineSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		in, err := New(new(sql.DB), sqlite.Dialect(), memory.New(nil), &Options{Consumer: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		in.out.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID()}})
		began := time.Now()
		for range 3 {
			if !in.out.flush(t.Context(), blocked{}) {
				t.Error("the connection was given up")
			}
		}
		if took := time.Since(began); took != 3*publishTimeout || in.out.count != 1 {
			t.Errorf("after %v %d receipts are left, want 1 after %v", took, in.out.count, 3*publishTimeout)
		}
		if n := strings.Count(log.String(), "out of disk or memory"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		conn, err := memory.New(nil).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		if !in.out.flush(t.Context(), conn) || in.out.count != 0 {
			t.Errorf("%d receipts are left with a broker that takes them", in.out.count)
		}
		for range 2 { // what is refused is told again, once receipts have been taken
			log.Reset()
			for range 3 {
				in.out.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID()}})
				in.out.flush(t.Context(), full{})
			}
			if n := strings.Count(log.String(), "no room"); n != 1 || in.out.count != 0 || !strings.Contains(log.String(), "queue=ack.shop") {
				t.Errorf("said %d times with %d receipts left:\n%s", n, in.out.count, log.String())
			}
			in.out.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID()}})
			in.out.flush(t.Context(), conn)
		}
		if lost := in.Stats().ReceiptsLost; lost != 6 {
			t.Errorf("%d receipts were counted as lost", lost)
		}
	})
}
