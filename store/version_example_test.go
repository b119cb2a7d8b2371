package store_test

import (
	"context"
	"errors"
	"fmt"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// A service that may not make tables itself says at its start what is missing.
func ExampleCheckSchema() {
	ctx := context.Background()
	db, err := openMemory()
	check(err)
	defer db.Close()
	names, err := store.NewNames("")
	check(err)

	err = store.CheckSchema(ctx, db, sqlite.Dialect(), names, store.Producer)
	var schemaErr *waybill.SchemaError
	if errors.As(err, &schemaErr) {
		fmt.Printf("found version %d of the %s's tables, need %d\n", schemaErr.Have, schemaErr.Side, schemaErr.Want)
	}
	fmt.Println(err)

	check(store.Migrate(ctx, db, sqlite.Dialect(), "", store.Producer))
	fmt.Println(store.CheckSchema(ctx, db, sqlite.Dialect(), names, store.Producer))
	// Output:
	// found version 0 of the producer's tables, need 2
	// waybill: the producer's tables are missing: run 'waybill init --side producer' or call store.Migrate
	// <nil>
}
