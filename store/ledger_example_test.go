package store_test

import (
	"context"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// The guard of a message is written in the transaction of its effect: a second copy
// finds it there.
func ExampleLedger_RecordOnce() {
	ctx := context.Background()
	db, err := openMigrated(ctx)
	check(err)
	defer db.Close()
	ledger, err := store.NewLedger(db, sqlite.Dialect(), "", "shipping")
	check(err)

	message := store.Mark{ID: waybill.NewID(), Producer: "shop", Destination: "orders"}
	for range 2 {
		tx, err := ledger.Begin(ctx)
		check(err)
		verdicts, err := ledger.RecordOnce(ctx, tx, []store.Mark{message})
		check(err)
		fmt.Println(verdicts[0])
		// Where it is Fresh, the handler writes its effect in tx here.
		check(tx.Commit())
	}
	// Output:
	// Fresh
	// Duplicate
}

// Of the states of one key, an older one that comes later finds the newer one's record.
func ExampleLedger_RecordLatest() {
	ctx := context.Background()
	db, err := openMigrated(ctx)
	check(err)
	defer db.Close()
	ledger, err := store.NewLedger(db, sqlite.Dialect(), "", "shipping")
	check(err)

	for _, version := range []int64{1, 3, 2} {
		state := store.Mark{ID: waybill.NewID(), Producer: "shop", Destination: "orders", Key: "A-1", TimeStamp: version}
		tx, err := ledger.Begin(ctx)
		check(err)
		verdicts, err := ledger.RecordLatest(ctx, tx, []store.Mark{state})
		check(err)
		fmt.Println(version, verdicts[0])
		check(tx.Commit())
	}
	// Output:
	// 1 Fresh
	// 3 Fresh
	// 2 Superseded
}

// A record may go once it is older than the retention and its producer, by its floor,
// will not send the message again; a copy that comes all the same is told apart.
func ExampleLedger_Prune() {
	ctx := context.Background()
	db, err := openMigrated(ctx)
	check(err)
	defer db.Close()
	ledger, err := store.NewLedger(db, sqlite.Dialect(), "", "shipping")
	check(err)
	guard := func(m store.Mark) store.Verdict {
		tx, err := ledger.Begin(ctx)
		check(err)
		defer tx.Rollback()
		verdicts, err := ledger.RecordOnce(ctx, tx, []store.Mark{m})
		check(err)
		if verdicts[0] == store.Fresh {
			check(tx.Commit())
		}
		return verdicts[0]
	}

	now := time.Now()
	old := store.Mark{ID: waybill.NewIDAt(now.Add(-8 * 24 * time.Hour)), Producer: "shop", Destination: "orders"}
	fmt.Println(guard(old))
	check(ledger.SaveFloor(ctx, "shop", waybill.LowestID(now)))
	deleted, err := ledger.Prune(ctx, now, 7*24*time.Hour, 1000)
	check(err)
	fmt.Println(deleted, "record deleted")
	fmt.Println(guard(old))
	// Output:
	// Fresh
	// 1 record deleted
	// Forgotten
}
