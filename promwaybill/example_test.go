package promwaybill_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	_ "modernc.org/sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/promwaybill"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// A service registers its relay and its inbox beside what else it measures, and serves all of
// it, as by promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).
func Example() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(ctx, db, sqlite.Dialect(), "", side); err != nil {
			log.Fatal(err)
		}
	}
	r, err := relay.New(db, sqlite.Dialect(), memory.New(nil), &relay.Options{Producer: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		log.Fatal(err)
	}
	in, err := inbox.New(db, sqlite.Dialect(), memory.New(nil), &inbox.Options{Consumer: "billing"})
	if err != nil {
		log.Fatal(err)
	}
	keeper, err := store.NewKeeper(db, sqlite.Dialect(), "", "billing")
	if err != nil {
		log.Fatal(err)
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(promwaybill.Inbox(in, keeper, nil))
	// This registry may have other outboxes, too.
	prometheus.WrapRegistererWith(prometheus.Labels{"outbox": "shop"}, registry).MustRegister(promwaybill.Relay(r, queue, nil))

	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		log.Fatal(err)
	}
	err = out.InTx(ctx, db, func(tx *sql.Tx) error {
		return out.Send(ctx, tx, waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders"})
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP waybill_inbox_handled_total Messages whose effect was committed.
# TYPE waybill_inbox_handled_total counter
waybill_inbox_handled_total 0
# HELP waybill_outbox_messages Rows of the outbox by status.
# TYPE waybill_outbox_messages gauge
waybill_outbox_messages{destination="orders",outbox="shop",status="pending",type="queue"} 2
`), "waybill_inbox_handled_total", "waybill_outbox_messages"))
	// Output: <nil>
}
