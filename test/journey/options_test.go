package journey

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestOptionsThatMakeNoSenseAreAllReportedAtOnce(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "unused.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, c := range []struct {
		name string
		of   func() error
		want []string
	}{
		{"relay", func() error {
			_, err := relay.New(db, sqlite.Dialect(), memory.New(nil), &relay.Options{
				Producer: "a b", Window: -1, MinResend: time.Hour, MaxResend: time.Minute,
				Default: relay.Destination{Confirm: waybill.Accepted, Transport: waybill.Transient},
			})
			return err
		}, []string{"Producer", "Window", "MinResend", "Accepted needs Durable"}},
		{"a relay without options", func() error {
			_, err := relay.New(db, sqlite.Dialect(), memory.New(nil), nil)
			return err
		}, []string{"Producer is required"}},
		{"topics", func() error {
			_, err := relay.New(db, sqlite.Dialect(), memory.New(nil), &relay.Options{
				Producer: "shop", Topics: map[string]relay.Destination{"a b": {}, "prices": {Window: -1}},
			})
			return err
		}, []string{`Topics: "a b"`, `Topics["prices"]: Window`}},
		{"inbox", func() error {
			_, err := inbox.New(nil, nil, nil, &inbox.Options{Batch: -1})
			return err
		}, []string{"Consumer", "Batch", "broker", "database"}},
		{"handlers", func() error {
			in, err := inbox.New(db, sqlite.Dialect(), memory.New(nil), &inbox.Options{Consumer: "tester"})
			if err != nil {
				t.Fatal(err)
			}
			nothing := func(context.Context, *sql.Tx, *waybill.Message) error { return nil }
			in.Handle("ack.orders", waybill.Once, nothing)
			in.Handle("orders", waybill.Once, nothing)
			in.Handle("orders", waybill.Latest, nothing)
			in.Handle("others", 7, nil)
			return in.Run(t.Context())
		}, []string{"reserved", "has a handler already", "level 7", "handler is nil"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.of()
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got the error %v; want it to tell of %s", err, want)
				}
			}
		})
	}
}
