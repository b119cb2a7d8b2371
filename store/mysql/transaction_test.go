package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/mysql"
)

// withProcedures is a database with a table and two procedures.
func withProcedures(t *testing.T, set func(*mysqldriver.Config)) *sql.DB {
	db := open(t, set)
	db.SetMaxOpenConns(1)
	for _, text := range []string{
		`CREATE TABLE notes (n INT PRIMARY KEY)`,
		`CREATE PROCEDURE commits() BEGIN INSERT INTO notes VALUES (50); COMMIT; END`,
		`CREATE PROCEDURE writes() INSERT INTO notes VALUES (60)`,
	} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func count(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM notes`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func insert(ctx context.Context, tx *sql.Tx, n int) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO notes VALUES (?)`, n)
	return err
}

func TestStatementsThatCommitInPassingAreRefusedInAHeldTransaction(t *testing.T) {
	for _, statement := range []string{
		`CREATE TABLE other (n INT)`, `ALTER TABLE notes ADD COLUMN m INT`, `DROP TABLE notes`, `TRUNCATE notes`, `RENAME TABLE notes TO other`,
		`CREATE INDEX other ON notes (n)`, `BEGIN`, `START TRANSACTION`, `SET autocommit = 1`, `LOCK TABLES notes WRITE`, `CALL commits()`,
		`ANALYZE TABLE notes`, `FLUSH TABLES`, `CREATE USER nobody`, `XA COMMIT 'waybill'`, `XA PREPARE 'waybill'`,
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			db := withProcedures(t, interpolated)
			tx, err := store.NewBeginner(mysql.Dialect()).Begin(t.Context(), db, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if err := insert(t.Context(), tx.SQL(), 1); err != nil {
				t.Fatal(err)
			}
			_, err = tx.SQL().ExecContext(t.Context(), statement)
			if err == nil && statement != `SET autocommit = 1` { // which changes nothing where it is 1
				t.Error("it was let through")
			}
			tx.Rollback()
			if n := count(t, db); n != 0 {
				t.Errorf("%d rows, want none, since all was rolled back", n)
			}
		})
	}
}

func TestWhatDoesNotCommitWorksInAHeldTransaction(t *testing.T) {
	db := withProcedures(t, interpolated)
	tx, err := store.NewBeginner(mysql.Dialect()).Begin(t.Context(), db, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, statement := range []string{
		`CALL writes()`, `CREATE TEMPORARY TABLE scratch (n INT)`, `INSERT INTO scratch VALUES (61)`, `INSERT INTO notes SELECT n FROM scratch`,
		`DROP TEMPORARY TABLE scratch`, `SET @x = 1`, `SELECT n FROM notes FOR UPDATE`,
	} {
		if _, err := tx.SQL().ExecContext(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// A session that does not commit by itself has a transaction open whenever something was
// read through it.
func TestATransactionIsHeldOnASessionWithoutAutocommit(t *testing.T) {
	db := withProcedures(t, func(c *mysqldriver.Config) { c.Params = map[string]string{"autocommit": "0"} })
	_ = count(t, db)
	tx, err := store.NewBeginner(mysql.Dialect()).Begin(t.Context(), db, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := insert(t.Context(), tx.SQL(), 1); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// noXA is a server that knows no XA, as Galera clusters and TiDB are.
type noXA struct{ store.Dialect }

func (d noXA) Hold(nonce string, o *sql.TxOptions, readWrite bool) []store.Hold {
	ways := d.Dialect.Hold(nonce, o, readWrite)
	ways[0].Begin = []string{`ROLLBACK`, `XA UNKNOWN`}
	return ways
}

func TestWithoutXAASavepointTellsThatTheTransactionHasEnded(t *testing.T) {
	for _, c := range []struct {
		name string
		end  string
		left int // rows that are there all the same
	}{
		{"nothing", `SET @x = 1`, 2},
		{"ROLLBACK", `ROLLBACK`, 0},
		{"COMMIT", `COMMIT`, 1},
		{"DDL", `CREATE TABLE other (n INT)`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := withProcedures(t, interpolated)
			beginner := store.NewBeginner(noXA{mysql.Dialect()})
			for range 2 { // it knows by then
				if _, err := db.ExecContext(t.Context(), `DELETE FROM notes`); err != nil {
					t.Fatal(err)
				}
				if _, err := db.ExecContext(t.Context(), `DROP TABLE IF EXISTS other`); err != nil {
					t.Fatal(err)
				}
				tx, err := beginner.Begin(t.Context(), db, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
				if err != nil {
					t.Fatal(err)
				}
				if err := insert(t.Context(), tx.SQL(), 1); err != nil {
					t.Fatal(err)
				}
				if _, err := tx.SQL().ExecContext(t.Context(), c.end); err != nil {
					t.Fatal(err)
				}
				if err := insert(t.Context(), tx.SQL(), 2); err != nil {
					t.Fatal(err)
				}
				err = tx.Commit(t.Context())
				if ended := errors.Is(err, waybill.ErrTxEnded); ended != (c.name != "nothing") {
					t.Errorf("Commit says %v", err)
				}
				if n := count(t, db); n != c.left {
					t.Errorf("%d rows, want %d", n, c.left)
				}
				var autocommit int
				if err := db.QueryRowContext(t.Context(), `SELECT @@autocommit`).Scan(&autocommit); err != nil || autocommit != 1 {
					t.Errorf("autocommit is %d (error %v), want 1", autocommit, err)
				}
			}
		})
	}
}

// unwell is a server whose first XA START fails for a reason of the moment.
type unwell struct {
	store.Dialect
	calls *int
}

func (d unwell) Hold(nonce string, o *sql.TxOptions, readWrite bool) []store.Hold {
	ways := d.Dialect.Hold(nonce, o, readWrite)
	if *d.calls++; *d.calls == 1 {
		ways[0].Begin = []string{`SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not now'`}
	}
	return ways
}

func TestAFailureOfTheMomentDoesNotMakeTransactionsLooser(t *testing.T) {
	db := withProcedures(t, interpolated)
	beginner := store.NewBeginner(unwell{mysql.Dialect(), new(int)})
	if _, err := beginner.Begin(t.Context(), db, nil); err == nil {
		t.Fatal("got a transaction, want the server's error")
	}
	tx, err := beginner.Begin(t.Context(), db, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.SQL().ExecContext(t.Context(), `COMMIT`); err == nil {
		t.Error("COMMIT was let through, want it refused as in an XA branch")
	}
}
