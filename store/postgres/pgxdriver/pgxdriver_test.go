package pgxdriver_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
)

// connect makes a schema of the test's own with the tables, whose prefix it returns, a
// pool and a connection of pgx's own.
func connect(t *testing.T, mode pgx.QueryExecMode) (conn *pgx.Conn, db *sql.DB, prefix string) {
	t.Helper()
	config, err := pgx.ParseConfig(testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = mode
	schema := dialecttest.DatabaseName()
	db = stdlib.OpenDB(*config)
	t.Cleanup(func() {
		if _, err := db.Exec(`DROP SCHEMA IF EXISTS ` + schema + ` CASCADE`); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	dialecttest.Migrate(t, db, postgres.Dialect(), schema+".")
	conn, err = pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn, db, schema + "."
}

func TestMessagesAreSentThroughATransactionOfPgx(t *testing.T) {
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			conn, db, prefix := connect(t, mode)
			names, err := store.NewNames(prefix)
			if err != nil {
				t.Fatal(err)
			}
			everyByte := make([]byte, 256)
			for i := range everyByte {
				everyByte[i] = byte(i)
			}
			send := func(rows ...store.NewRow) pgx.Tx {
				tx, err := conn.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := store.Insert(t.Context(), pgxdriver.Tx(tx), postgres.Dialect(), names, rows); err != nil {
					t.Fatal(err)
				}
				return tx
			}
			message := func(key string) store.NewRow {
				return store.NewRow{ID: waybill.NewID(), Destination: "o", Key: key, Body: everyByte, Headers: `{"a":"b"}`, Topic: true, NotBefore: 5}
			}
			for i, rows := range [][]store.NewRow{{message("k")}, {message("")}, {message("k"), message(`q"\ '日本語`), message("")}} {
				if err := send(rows...).Commit(t.Context()); err != nil {
					t.Fatalf("send %d: %v", i, err)
				}
			}
			if err := send(message("phantom")).Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			queue, err := store.NewQueue(db, postgres.Dialect(), prefix)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := queue.Scan(t.Context(), 0, 10, 0)
			if err != nil {
				t.Fatal(err)
			}
			sequences := map[string]int64{}
			for _, r := range rows {
				if string(r.Body) != string(everyByte) || r.Headers != `{"a":"b"}` || !r.Topic || r.NotBefore != 5 {
					t.Errorf("got the row %+v, want it as it was sent", r)
				}
				sequences[r.Key] = r.Sequence
			}
			if want := (map[string]int64{"": 0, "k": 2, `q"\ '日本語`: 1}); fmt.Sprint(sequences) != fmt.Sprint(want) || len(rows) != 5 {
				t.Errorf("got %d rows with the sequences %v, want 5 with %v", len(rows), sequences, want)
			}
		})
	}
}

func TestATransactionOfPgxThatHasEndedIsSaidToHave(t *testing.T) {
	conn, _, _ := connect(t, pgx.QueryExecModeCacheStatement)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := pgxdriver.Tx(tx).Commit(); err != nil {
		t.Fatal(err)
	}
	_, err = pgxdriver.Tx(tx).ExecContext(t.Context(), `SELECT 1`)
	if !errors.Is(err, sql.ErrTxDone) || !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("got error %v, want sql.ErrTxDone and pgx.ErrTxClosed", err)
	}
}

func TestNoTransactionOfPgxIsNone(t *testing.T) {
	if got := pgxdriver.Tx(nil); got != nil {
		t.Errorf("got %v, want nil", got)
	}
}

func TestAResultOfPgxCountsRows(t *testing.T) {
	conn, _, _ := connect(t, pgx.QueryExecModeCacheStatement)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	result, err := pgxdriver.Tx(tx).ExecContext(t.Context(), `SELECT generate_series(1, $1::int)`, 7)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); n != 7 || err != nil {
		t.Errorf("got %d rows affected and error %v, want 7", n, err)
	}
	if _, err := result.LastInsertId(); err == nil {
		t.Error("got a last inserted id, want an error")
	}
}
