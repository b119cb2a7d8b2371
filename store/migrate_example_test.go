package store_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// A service makes its tables when it starts: any number of its processes may do so at
// once, and where the tables are up to date nothing happens.
func ExampleMigrate() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	check(err)
	defer db.Close()
	db.SetMaxOpenConns(1) // the database lives in its one connection

	for range 2 {
		check(store.Migrate(ctx, db, sqlite.Dialect(), "app_", store.Producer))
	}

	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'app_%' ORDER BY name`)
	check(err)
	defer rows.Close()
	for rows.Next() {
		var table string
		check(rows.Scan(&table))
		fmt.Println(table)
	}
	check(rows.Err())
	// Output:
	// app_qconfirmed
	// app_qmessage
	// app_qmessage_key
	// app_qoutbox
	// app_qpause
	// app_qrelay
	// app_waybill_version
}
