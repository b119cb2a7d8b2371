package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// SQLite rolls a whole transaction back by itself, and what follows would commit
// statement by statement.
func TestWhatEndsATransactionBehindItsOwnersBackIsFoundOut(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, tx *sql.Tx) error{
		"a conflict clause": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT OR ROLLBACK INTO notes VALUES (1)`)
			return err
		},
		"a trigger": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO notes VALUES (666)`)
			return err
		},
		"an interrupted write": func(ctx context.Context, tx *sql.Tx) error {
			var err error
			for limit, left := 20*time.Millisecond, 1; left > 0; limit *= 2 { // until it had begun
				short, cancel := context.WithTimeout(ctx, limit)
				_, err = tx.ExecContext(short, `INSERT INTO notes WITH RECURSIVE c (x) AS (SELECT 1000 UNION ALL SELECT x + 1 FROM c WHERE x < 100000000) SELECT x FROM c`)
				cancel()
				if problem := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM notes`).Scan(&left); problem != nil {
					return nil
				}
			}
			return err
		},
		"several statements in one": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO notes VALUES (2); COMMIT; INSERT INTO notes VALUES (3)`)
			return err
		},
		"a transaction of the handler's own": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `ROLLBACK; BEGIN; INSERT INTO notes VALUES (2); ROLLBACK; INSERT INTO notes VALUES (3)`)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, "_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)")
			db.SetMaxOpenConns(1)
			for _, text := range []string{
				`CREATE TABLE notes (n INTEGER PRIMARY KEY)`,
				`CREATE TRIGGER notes_666 BEFORE INSERT ON notes WHEN NEW.n = 666 BEGIN SELECT RAISE(ROLLBACK, 'not this number'); END`,
			} {
				if _, err := db.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			tx, err := store.NewBeginner(sqlite.Dialect()).Begin(t.Context(), db, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if _, err := tx.SQL().ExecContext(t.Context(), `INSERT INTO notes VALUES (1)`); err != nil {
				t.Fatal(err)
			}
			if err := end(t.Context(), tx.SQL()); err == nil {
				t.Error("it was not refused")
			}
			if err := tx.Intact(); !errors.Is(err, waybill.ErrTxEnded) {
				t.Errorf("Intact says %v, want %v", err, waybill.ErrTxEnded)
			}
			if _, err := tx.SQL().ExecContext(t.Context(), `INSERT INTO notes VALUES (4)`); err == nil {
				t.Error("a statement behind the end was let through")
			}
			if err := tx.Commit(t.Context()); !errors.Is(err, waybill.ErrTxEnded) {
				t.Errorf("Commit says %v, want %v", err, waybill.ErrTxEnded)
			}
			var n int
			if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM notes`).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d rows (error %v), want none", n, err)
			}
			if _, err := db.ExecContext(t.Context(), `INSERT INTO notes VALUES (5)`); err != nil {
				t.Errorf("a later statement: %v", err)
			}
		})
	}
}
