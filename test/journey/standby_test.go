package journey

import (
	"context"
	"database/sql"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/relay"
)

// name is a host name that leads to a PostgreSQL server, and to another one after a
// failover. Connections that are open stay where they are.
type name struct {
	leadsTo atomic.Pointer[string]
	dials   atomic.Int64
}

func (n *name) set(t *testing.T, address string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	n.leadsTo.Store(&u.Host)
}

// open opens the database of db where the name leads.
func (n *name) open(w *world, db *sql.DB, parameters string, connections int) *sql.DB {
	u, err := url.Parse(testserver.Address(w.t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := db.QueryRow(`SELECT current_database()`).Scan(&u.Path); err != nil {
		w.t.Fatal(err)
	}
	u.RawQuery += parameters
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		w.t.Fatal(err)
	}
	config.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
		n.dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, *n.leadsTo.Load())
	}
	named := stdlib.OpenDB(*config)
	named.SetMaxOpenConns(connections)
	w.t.Cleanup(func() { named.Close() })
	return named
}

func TestConnectionsThatLeadToAStandbyAreNotUsedForEver(t *testing.T) {
	t.Parallel()
	primary, standby := testserver.Address(t, "WAYBILL_TEST_POSTGRES"), testserver.Address(t, "WAYBILL_TEST_STANDBY")
	for _, c := range []struct {
		name, parameters string
		connections      int
	}{
		{"a pool of any size", "", 0},
		{"two connections", "", 2},
		{"sessions that are read-only unless they are asked", "&default_transaction_read_only=on", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, onPostgres, memory.New(nil))
			var ofRelay, ofInbox name
			ofRelay.set(t, primary)
			ofInbox.set(t, primary)
			producer, consumer := ofRelay.open(w, w.producer, c.parameters, c.connections), ofInbox.open(w, w.consumer, c.parameters, c.connections)
			r, err := relay.New(producer, w.database.dialect, w.broker, &w.relayOptions)
			if err != nil {
				t.Fatal(err)
			}
			plain := w.consumer
			w.consumer = consumer
			in := w.inbox()
			w.consumer = plain
			w.runs(r.Run)
			w.runs(in.Run)
			send := func() {
				for _, m := range []waybill.Message{{Destination: "events"}, {Destination: "states", Key: "a"}} {
					if err := w.send(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
			}
			send()
			w.emptied(time.Minute)
			for _, side := range []struct {
				name *name
				db   *sql.DB
				has  string
			}{
				{&ofInbox, w.consumer, `SELECT count(*) FROM n1_record`},
				{&ofRelay, w.producer, `SELECT count(*) FROM qmessage`},
			} {
				w.isAt(standby, side.db, side.has)
				side.name.set(t, standby)
				w.endSessions(side.db)
				send()
				dials := side.name.dials.Load()
				w.waits("its connections lead to the standby", time.Minute, func() bool { return side.name.dials.Load() >= dials+5 })
				side.name.set(t, primary) // and nobody ends the sessions at the standby
				w.emptied(time.Minute)
			}
			w.judge()
			if s := in.Stats(); s.Rejected > 0 {
				t.Errorf("got %+v, want nothing rejected", s)
			}
		})
	}
}

// isAt waits until a query works in the copy of a database that a standby has.
func (w *world) isAt(standby string, db *sql.DB, query string) {
	w.t.Helper()
	u, err := url.Parse(standby)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := db.QueryRow(`SELECT current_database()`).Scan(&u.Path); err != nil {
		w.t.Fatal(err)
	}
	there, err := sql.Open("pgx", u.String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer there.Close()
	w.waits("the standby has what the primary has", 2*time.Minute, func() bool {
		var n int
		return there.QueryRow(query).Scan(&n) == nil
	})
}

// endSessions ends all sessions of a database but one.
func (w *world) endSessions(db *sql.DB) {
	w.t.Helper()
	w.exec(db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
}
