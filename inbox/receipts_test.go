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
	"github.com/waybill-go/waybill/store/sqlite"
)

// blocked is a connection to a broker that takes nothing from those who publish.
type blocked struct{ broker.Conn }

func (blocked) Publish(ctx context.Context, messages []broker.Message, _ waybill.Transport) ([]broker.Result, error) {
	<-ctx.Done()
	results := make([]broker.Result, len(messages))
	for i := range results {
		results[i].Err = ctx.Err()
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
	})
}
