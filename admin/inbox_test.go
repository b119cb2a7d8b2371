package admin_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

func TestAnInboxIsServedFromItsFirstMomentOn(t *testing.T) {
	f := newFixture(t)
	if err := store.Migrate(t.Context(), f.db, f.dialect, "", store.Consumer); err != nil {
		t.Fatal(err)
	}
	in, err := inbox.New(f.db, f.dialect, f.broker, &inbox.Options{Consumer: "shipping", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	in.Handle("orders", waybill.Once, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
		if len(m.Body) == 0 {
			return waybill.Permanent(errors.New("an empty order"))
		}
		return nil
	})
	keeper, err := store.NewKeeper(f.db, f.dialect, "", "shipping")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(admin.InboxHandler(in, keeper, &admin.Options{Version: "v1", CountEvery: time.Nanosecond}))
	t.Cleanup(server.Close)
	s := &served{t: t, url: server.URL}

	s.want("/healthz", 200, "ok")
	s.want("/readyz", 503, "no connection to the broker")
	for _, want := range []string{
		"\nwaybill_inbox_connected 0\n", "\nwaybill_inbox_handled_total 0\n", "\nwaybill_kept_up 1\n",
		`waybill_kept_messages{status="rejected"} 0`, `waybill_kept_messages{status="waiting"} 0`,
	} {
		s.want("/metrics", 200, want)
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	conn, err := f.broker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	foreign := []broker.Message{{Destination: "orders", Body: []byte("book")}, {Destination: "orders"}}
	if _, err := conn.Publish(t.Context(), foreign, waybill.Durable); err != nil {
		t.Fatal(err)
	}
	patience.Until(t, "one message is handled and one kept", func() bool {
		i := in.Stats()
		return i.Handled == 1 && i.Kept == 1
	})
	s.want("/readyz", 200, "ok")
	s.want("/metrics", 200, "\nwaybill_inbox_handled_total 1\n")
	told := func(text string) func() bool { // it is counted in the background, and not too often
		return func() bool {
			_, body := s.get("/metrics")
			return strings.Contains(body, text)
		}
	}
	eventually(t, "the kept message is counted", told(`waybill_kept_messages{status="rejected"} 1`))
	s.want("/stats", 200, `"kept":{"rejected":1,"waiting":0}`)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a count to fail", told("\nwaybill_kept_up 0\n"))
	s.want("/metrics", 200, `waybill_kept_messages{status="rejected"} 1`)
}
