package store_test

import (
	"context"
	"fmt"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// What outbox.Send does in the end: the rows exist if the caller's transaction commits,
// and the messages of a key are counted from 1 without gaps.
func ExampleInsert() {
	ctx := context.Background()
	db, err := openMigrated(ctx)
	check(err)
	defer db.Close()
	names, err := store.NewNames("")
	check(err)

	for _, commits := range []bool{true, false, true} {
		tx, err := db.BeginTx(ctx, nil)
		check(err)
		check(store.Insert(ctx, tx, sqlite.Dialect(), names, []store.NewRow{
			{ID: waybill.NewID(), Destination: "orders", Key: "A-1", Body: []byte("paid")},
		}))
		if commits {
			check(tx.Commit())
		} else {
			check(tx.Rollback())
		}
	}

	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	check(err)
	rows, err := queue.Scan(ctx, 0, 10, 0)
	check(err)
	for _, r := range rows {
		fmt.Println(r.Destination, r.Key, r.Sequence, string(r.Body))
	}
	// Output:
	// orders A-1 1 paid
	// orders A-1 2 paid
}

// A dialect whose statement has added all rows of a key to its sequence at once, up to
// 9 for "a" and 3 for "b", counts back for each row.
func ExampleCountFollowing() {
	rows := []store.NewRow{{Key: "a"}, {Key: "a"}, {Key: "a"}, {Key: "b"}}
	last := map[string]int64{"a": 9, "b": 3}
	for i, following := range store.CountFollowing(rows) {
		fmt.Println(rows[i].Key, last[rows[i].Key]-following)
	}
	// Output:
	// a 7
	// a 8
	// a 9
	// b 3
}
