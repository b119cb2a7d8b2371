package journey

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/relay"
)

// again opens the database of db at the server that variable names, with parameters.
func (w *world) again(db *sql.DB, variable, parameters string) *sql.DB {
	w.t.Helper()
	name := `SELECT current_database()`
	if w.database.name == onMySQL.name {
		name = `SELECT DATABASE()`
	}
	u, err := url.Parse(testserver.Address(w.t, variable))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := db.QueryRow(name).Scan(&u.Path); err != nil {
		w.t.Fatal(err)
	}
	if u.RawQuery != "" && parameters != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += parameters
	strange, _, err := address.OpenDatabase(u.String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { strange.Close() })
	return strange
}

func TestTheStrangestSessionsLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                 string
		database             database
		variable, parameters string
		connections          int
	}{
		{"MySQL, READ UNCOMMITTED without autocommit", onMySQL, "WAYBILL_TEST_MYSQL",
			"tx_isolation='READ-UNCOMMITTED'&autocommit=0&innodb_lock_wait_timeout=1&sql_mode='PAD_CHAR_TO_FULL_LENGTH,SIMULTANEOUS_ASSIGNMENT'", 0},
		{"MySQL, SERIALIZABLE, read-only, two connections", onMySQL, "WAYBILL_TEST_MYSQL",
			"tx_isolation='SERIALIZABLE'&tx_read_only=1&sql_select_limit=1&sql_safe_updates=1&max_statement_time=0.5&sql_mode='ORACLE'", 2},
		{"PostgreSQL, SERIALIZABLE and read-only", onPostgres, "WAYBILL_TEST_POSTGRES",
			"default_transaction_isolation=serializable&default_transaction_read_only=on&timezone=Pacific/Apia", 0},
		{"PostgreSQL, short limits of time, two connections", onPostgres, "WAYBILL_TEST_POSTGRES",
			"statement_timeout=1000&lock_timeout=20", 2},
		{"PgBouncer in transaction mode", onPostgres, "WAYBILL_TEST_PGBOUNCER", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.database, memory.New(nil))
			relayDB, inboxDB := w.again(w.producer, c.variable, c.parameters), w.again(w.consumer, c.variable, c.parameters)
			if c.connections > 0 {
				relayDB.SetMaxOpenConns(c.connections)
				inboxDB.SetMaxOpenConns(c.connections)
			}
			r, err := relay.New(relayDB, w.database.dialect, w.broker, &w.relayOptions)
			if err != nil {
				t.Fatal(err)
			}
			w.runs(r.Run)
			plain := w.consumer
			w.consumer = inboxDB
			in := w.inbox()
			w.consumer = plain
			w.runs(in.Run)

			undone, err := w.producer.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer undone.Rollback()
			if err := w.out.Send(t.Context(), undone, waybill.Message{Destination: "events", Key: "undone"}); err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			for i := range 60 {
				m := waybill.Message{Destination: "events"}
				if i%2 == 1 {
					m = waybill.Message{Destination: "states", Key: string(rune('a' + i%5))}
				}
				if err := w.send(ctx, m); err != nil {
					t.Fatal(err)
				}
			}
			w.waits("all but the open transaction's is done", time.Minute, func() bool { return w.left() == 0 })
			if err := undone.Rollback(); err != nil {
				t.Error(err)
			}
			w.judge()
			if s := in.Stats(); s.Rejected > 0 || s.Handled < 30 {
				t.Errorf("got %+v, want 30 events handled and nothing rejected", s)
			}
		})
	}
}

func TestAVersionThatGoesBackIsCountedAndLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onSQLite, memory.New(nil))
	var logged bytes.Buffer
	w.inboxOptions.Logger = slog.New(slog.NewTextHandler(&logged, nil)) // it writes one line at a time
	w.resendsNever()                                                    // a copy would be another line
	in, r := w.inbox(), w.relay()
	stop := w.runs(in.Run)
	w.runs(r.Run)
	say := func(version int64) {
		w.commit(waybill.Message{Destination: "states", Key: "a", TimeStamp: version})
		w.emptied(20 * time.Second)
	}
	for version := range int64(4) {
		say(version) // the first by the clock
	}
	if s := in.Stats(); s.Superseded != 3 || s.WentBack != 3 {
		t.Errorf("got %d superseded, %d of them went back, want 3 and 3", s.Superseded, s.WentBack)
	}
	stop()
	if got := strings.Count(logged.String(), "version has gone back"); got != 2 {
		t.Errorf("got %d lines that say that the version has gone back, want 2:\n%s", got, logged.String())
	}
}

// A handler leaves its session with a schema, a database or a role that Waybill's tables are
// out of reach for, and its connection goes back to the pool.
func TestASessionThatAHandlerHasLedAstrayHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		database database
		variable string
		strays   string
	}{
		{"PostgreSQL, another search_path", onPostgres, "WAYBILL_TEST_POSTGRES", `SET search_path TO pg_catalog`},
		{"PostgreSQL, another role", onPostgres, "WAYBILL_TEST_POSTGRES", `SET ROLE pg_monitor`},
		{"MySQL, another database", onMySQL, "WAYBILL_TEST_MYSQL", `USE information_schema`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.database, memory.New(nil))
			pool := w.again(w.consumer, c.variable, "")
			pool.SetMaxOpenConns(2)
			w.inboxOptions.Workers, w.inboxOptions.Batch = 1, 1
			in, err := inbox.New(pool, w.database.dialect, w.broker, &w.inboxOptions)
			if err != nil {
				t.Fatal(err)
			}
			in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
				if err := w.record(ctx, tx, m); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, c.strays)
				return err
			})
			w.runs(in.Run)
			w.runs(w.relay().Run)
			for range 5 {
				w.commit(waybill.Message{Destination: "orders"})
				w.emptied(30 * time.Second)
			}
			w.wantEffects(5)
			if s := in.Stats(); s.Rejected != 0 || s.Retried != 0 {
				t.Errorf("got %d rejected messages and %d failures, want none", s.Rejected, s.Retried)
			}
		})
	}
}
