package store_test

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// Relays send nothing to a destination whose consumer is being repaired; what is sent to it
// meanwhile waits.
func ExampleQueue_Pause() {
	ctx := context.Background()
	db, err := openMigrated(ctx)
	check(err)
	defer db.Close()
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	check(err)

	check(queue.Pause(ctx, store.Pause{Destination: "orders", By: "ann", Reason: "the carrier's API is down"}, 30*time.Minute))
	paused, err := queue.Pauses(ctx)
	check(err)
	for _, p := range paused {
		fmt.Printf("%s, by %s for %v: %s\n", p.Destination, p.By, p.Until.Sub(p.Since), p.Reason)
	}
	resumed, err := queue.Resume(ctx, "orders", false)
	check(err)
	fmt.Println("resumed:", resumed)
	// Output:
	// orders, by ann for 30m0s: the carrier's API is down
	// resumed: true
}
