package store_test

import (
	"context"
	"database/sql"
	"fmt"

	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// openMemory opens a database that lives as long as its one connection.
func openMemory() (*sql.DB, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// openMigrated opens one with Waybill's tables in it.
func openMigrated(ctx context.Context) (*sql.DB, error) {
	db, err := openMemory()
	if err != nil {
		return nil, err
	}
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(ctx, db, sqlite.Dialect(), "", side); err != nil {
			return nil, err
		}
	}
	return db, nil
}

// send sends messages in a transaction of their own.
func send(ctx context.Context, db *sql.DB, messages ...waybill.Message) error {
	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		return err
	}
	return out.InTx(ctx, db, func(tx *sql.Tx) error { return out.Send(ctx, tx, messages...) })
}

// check ends an example that cannot go on.
func check(err error) {
	if err != nil {
		panic(fmt.Sprint("this example failed: ", err))
	}
}
