package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// A file is opened with the settings that Waybill needs: readers go on beside the
// writer (WAL), a writer waits for its turn, and transactions begin IMMEDIATE.
func ExampleDialect() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "sqlite-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	const settings = "?_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)"
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "app.db")+settings)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	if err := store.Migrate(ctx, db, sqlite.Dialect(), "", store.Producer); err != nil {
		fmt.Println(err)
		return
	}

	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(queue.CheckSchema(ctx))
	// Output: <nil>
}

// An attached database is a schema: its tables have a prefix with a dot. ATTACH belongs
// to a connection, so a pool of several attaches on each.
func ExampleDialect_attached() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `ATTACH ':memory:' AS app`); err != nil {
		fmt.Println(err)
		return
	}
	if err := store.Migrate(ctx, db, sqlite.Dialect(), "app.", store.Consumer); err != nil {
		fmt.Println(err)
		return
	}
	var tables int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM app.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'`).Scan(&tables); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tables, "tables in the schema app")
	// Output: 6 tables in the schema app
}
