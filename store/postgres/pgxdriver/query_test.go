package pgxdriver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
	"github.com/waybill-go/waybill/waybilltest"
)

func TestWhatATransactionOfPgxHasSentIsSeenInIt(t *testing.T) {
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) {
			conn, _, prefix := connect(t, mode)
			out, err := outbox.New(postgres.Dialect(), &outbox.Options{TablePrefix: prefix})
			if err != nil {
				t.Fatal(err)
			}
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(t.Context())
			match := func(m waybilltest.Match) waybilltest.Match { m.TablePrefix = prefix; return m }
			waybilltest.RequireNotSent(t, pgxdriver.Tx(tx), match(waybilltest.Match{}))
			due := time.Now().Add(time.Hour).Truncate(time.Microsecond)
			if err := out.Send(t.Context(), pgxdriver.Tx(tx),
				waybill.Message{Destination: "orders", Key: "7", Headers: map[string]string{"tenant": "a"}, Body: []byte{0, '\\', 'x', 0xff}},
				waybill.Message{Destination: "prices", Topic: true, NotBefore: due},
			); err != nil {
				t.Fatal(err)
			}
			waybilltest.RequireSent(t, pgxdriver.Tx(tx), match(waybilltest.Match{Count: 2}))
			waybilltest.RequireSent(t, pgxdriver.Tx(tx), match(waybilltest.Match{
				Destination: "orders", Key: "7", Headers: map[string]string{"tenant": "a"}, Body: []byte{0, '\\', 'x', 0xff}, Count: 1,
			}))
			waybilltest.RequireSent(t, pgxdriver.Tx(tx), match(waybilltest.Match{Destination: "prices", Topic: true, Body: []byte{}, Count: 1}))
			if _, err := tx.Exec(t.Context(), `SELECT 1`); err != nil {
				t.Errorf("got %v, want a transaction that goes on", err)
			}
		})
	}
}

func TestAQueryThroughATransactionOfPgx(t *testing.T) {
	conn, _, _ := connect(t, pgx.QueryExecModeCacheStatement)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	rows, err := pgxdriver.Tx(tx).QueryContext(t.Context(), `SELECT 7 AS n, NULL::text, $1::text, true`, "given")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var n int
	var null *string
	var given string
	var yes bool
	if !rows.Next() || rows.Scan(&n, &null, &given, &yes) != nil || n != 7 || null != nil || given != "given" || !yes || rows.Next() || rows.Err() != nil {
		t.Errorf("got %d, %v, %q, %v and error %v; want what the query asks for, one row of it", n, null, given, yes, rows.Err())
	}
	bad, err := pgxdriver.Tx(tx).QueryContext(t.Context(), `SELECT nonsense`)
	if err == nil {
		defer bad.Close()
		bad.Next()
		err = bad.Err()
	}
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got error %v, want the database's own", err)
	}
}
