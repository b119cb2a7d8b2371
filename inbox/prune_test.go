package inbox

import (
	"context"
	"database/sql"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestTheRetentionIsADayWhereProducersWaitForReceipts(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	topic := &HandleOptions{Topic: true}
	for _, c := range []struct {
		name  string
		o     Options
		level waybill.Level
		h     *HandleOptions
		want  store.Retention
	}{
		{"a queue", Options{}, waybill.Once, nil, store.Retention{Confirmed: day, Foreign: week}},
		{"a topic, whose producer may not wait for this consumer", Options{}, waybill.Once, topic, store.Retention{Confirmed: week, Foreign: week}},
		{"a topic that has no records of Once", Options{}, waybill.Latest, topic, store.Retention{Confirmed: day, Foreign: week}},
		{"one of the caller's own", Options{Retention: time.Hour}, waybill.Once, topic, store.Retention{Confirmed: time.Hour, Foreign: time.Hour}},
		{"two of the caller's own", Options{Retention: 2 * week, ForeignRetention: day}, waybill.Once, nil, store.Retention{Confirmed: 2 * week, Foreign: day}},
		{"a foreign one of the caller's own", Options{ForeignRetention: time.Hour}, waybill.Once, nil, store.Retention{Confirmed: day, Foreign: time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Consumer = "shipping"
			in, err := New(db, sqlite.Dialect(), memory.New(nil), &c.o)
			if err != nil {
				t.Fatal(err)
			}
			in.HandleWith("orders", c.level, func(context.Context, *sql.Tx, *waybill.Message) error { return nil }, c.h)
			if got := in.retention(); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
