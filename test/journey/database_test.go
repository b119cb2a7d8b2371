package journey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// outage makes PostgreSQL databases refuse and drop all connections until it ends.
type outage struct {
	t     testing.TB
	admin *sql.DB
	names []string
}

func (w *world) outage() *outage {
	w.t.Helper()
	admin, _, err := address.OpenDatabase(testserver.Address(w.t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { admin.Close() })
	o := &outage{t: w.t, admin: admin}
	for _, db := range []*sql.DB{w.producer, w.consumer} {
		var name string
		if err := db.QueryRow(`SELECT current_database()`).Scan(&name); err != nil {
			w.t.Fatal(err)
		}
		o.names = append(o.names, name)
	}
	w.t.Cleanup(o.ends)
	return o
}

func (o *outage) do(query string, args ...any) {
	o.t.Helper()
	if _, err := o.admin.Exec(query, args...); err != nil {
		o.t.Fatal(err)
	}
}

func (o *outage) begins() {
	for _, name := range o.names {
		o.do(`ALTER DATABASE ` + name + ` ALLOW_CONNECTIONS false`)
		o.do(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, name)
	}
}

func (o *outage) ends() {
	for _, name := range o.names {
		o.do(`ALTER DATABASE ` + name + ` ALLOW_CONNECTIONS true`)
	}
}

func TestADatabaseThatGoesAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onPostgres, memory.New(nil))
	o := w.outage()
	r, in := w.relay(), w.inbox()

	o.begins() // it is away at the start
	w.runs(r.Run)
	w.runs(in.Run)
	o.ends()
	w.produce(400)
	w.waits("something is done", 30*time.Second, func() bool { return in.Stats().Handled > 0 })

	for range 3 { // and goes away in the middle of things
		produced := make(chan struct{})
		go func() {
			defer close(produced)
			for range 50 {
				// A commit that fails may or may not have happened: the tables will tell.
				_ = w.send(context.Background(), waybill.Message{Destination: "events"})
				_ = w.send(context.Background(), waybill.Message{Destination: "states", Key: "k"})
			}
		}()
		handled := in.Stats().Handled
		w.waits("more is done", 30*time.Second, func() bool { return in.Stats().Handled > handled })
		o.begins()
		w.waits("the relay has noticed", 30*time.Second, func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return w.producer.PingContext(ctx) != nil
		})
		o.ends()
		<-produced
	}
	w.waits("the database is back", 30*time.Second, func() bool { return w.producer.Ping() == nil && w.consumer.Ping() == nil })
	w.emptied(60 * time.Second)
	w.judge()
	if s := in.Stats(); s.Rejected > 0 {
		t.Errorf("%d messages were rejected because the database was away, want none", s.Rejected)
	}
}

func TestTablesThatAreMissingOrOfAnotherVersionStopTheRelayAndTheInbox(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "empty.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b := memory.New(nil)
	run := func() (errs []error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience.Limit)
		defer cancel()
		r, err := relay.New(db, sqlite.Dialect(), b, &relay.Options{Producer: "waybill", Logger: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		in, err := inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "tester", Logger: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
		return []error{r.Run(ctx), in.Run(ctx)}
	}
	expect := func(have int) {
		t.Helper()
		for i, err := range run() {
			side := []string{"producer", "consumer"}[i]
			t.Run(fmt.Sprintf("%s, version %d", side, have), func(t *testing.T) {
				var schema *waybill.SchemaError
				if !errors.As(err, &schema) || schema.Have != have || schema.Side != side {
					t.Errorf("got the error %v, want a SchemaError with this side and version", err)
				}
			})
		}
	}
	expect(0)
	migrate(t, db, sqlite.Dialect())
	names, err := store.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if _, err := db.Exec(sqlite.Dialect().SetVersion(names, side, 99).SQL); err != nil {
			t.Fatal(err)
		}
	}
	expect(99)
}
