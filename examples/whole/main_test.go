package main

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/waybill-go/waybill/internal/test/patience"
)

func TestWhatIsPlacedIsShippedUntilTheProgramIsStopped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "whole.db")
	db := open(t, file)
	for range 2 { // started again it goes on
		before := shipped(db)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, file, time.Millisecond) }()
		var now int
		patience.Until(t, "orders are shipped", func() bool {
			now = shipped(db)
			return now >= before+5
		}, func() any { return now })
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	var early int
	if err := db.QueryRow(`SELECT count(*) FROM shipments WHERE order_id NOT IN (SELECT id FROM orders)`).Scan(&early); err != nil || early > 0 {
		t.Errorf("got %d shipments of orders that nobody has placed (%v), want none", early, err)
	}
}

func open(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// shipped is how many orders are shipped; none while there is no table yet.
func shipped(db *sql.DB) (n int) {
	_ = db.QueryRow(`SELECT count(*) FROM shipments`).Scan(&n)
	return n
}
