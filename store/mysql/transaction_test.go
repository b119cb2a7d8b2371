package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
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

func TestATransactionWritesWhereTheSessionsDefaultIsNotTo(t *testing.T) {
	for name, dialect := range map[string]store.Dialect{"XA": mysql.Dialect(), "a savepoint": noXA{mysql.Dialect()}} {
		for _, level := range []sql.IsolationLevel{sql.LevelDefault, sql.LevelReadCommitted} {
			t.Run(fmt.Sprint(name, " ", level), func(t *testing.T) {
				config := server(t)
				config.InterpolateParams, config.Params = true, map[string]string{"tx_read_only": "1"}
				if err := withProcedures(t, interpolated).QueryRowContext(t.Context(), `SELECT DATABASE()`).Scan(&config.DBName); err != nil {
					t.Fatal(err)
				}
				db := connect(t, config)
				beginner := store.NewBeginner(dialect)
				for n := range 2 {
					tx, err := beginner.Begin(t.Context(), db, &sql.TxOptions{Isolation: level})
					if err != nil {
						t.Fatal(err)
					}
					defer tx.Rollback()
					if err := insert(t.Context(), tx.SQL(), n); err != nil {
						t.Fatal(err)
					}
					if err := tx.Commit(t.Context()); err != nil {
						t.Fatal(err)
					}
					if got := count(t, db); got != n+1 {
						t.Errorf("%d rows, want %d", got, n+1)
					}
				}
				if _, err := db.ExecContext(t.Context(), `DELETE FROM notes`); !mysql.Dialect().ReadOnly(err) {
					t.Errorf("got error %v, want the session as it was", err)
				}
			})
		}
	}
}

// asks notes whether transactions were asked to write.
type asks struct {
	store.Dialect
	all *[]bool
}

func (d asks) Hold(nonce string, o *sql.TxOptions, readWrite bool) []store.Hold {
	*d.all = append(*d.all, readWrite)
	return d.Dialect.Hold(nonce, o, readWrite)
}

func TestTransactionsAreAskedToWriteOnlyWhereTheyHaveToBe(t *testing.T) {
	db := withProcedures(t, interpolated)
	var all []bool
	beginner := store.NewBeginner(asks{mysql.Dialect(), &all})
	write := func(ctx context.Context, n int) error {
		tx, err := beginner.Begin(ctx, db, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := insert(ctx, tx.SQL(), n); err != nil {
			tx.Note(err)
			return err
		}
		return tx.Commit(ctx)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := write(over, 1); err == nil {
		t.Error("with a context that is over: got no error")
	}
	all = nil
	if err := write(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if _, err := db.ExecContext(t.Context(), `SET SESSION TRANSACTION READ ONLY`); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), 2); !mysql.Dialect().ReadOnly(err) {
		t.Errorf("in a session that has become read-only: got error %v, want that", err)
	}
	if err := write(t.Context(), 2); err != nil { // on another connection, since that one was dropped
		t.Error(err)
	}
	if want := []bool{false, false, false}; !slices.Equal(all, want) {
		t.Errorf("were asked to write: %v, want %v", all, want)
	}
}
