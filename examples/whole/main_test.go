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
	for start := range 2 { // started again it goes on
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, file, time.Millisecond) }()
		shipped(t, file, 5*(start+1))
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	db := open(t, file)
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

// shipped waits until so many orders are shipped.
func shipped(t *testing.T, file string, want int) {
	t.Helper()
	db := open(t, file)
	var n int
	patience.Until(t, "orders are shipped", func() bool {
		_ = db.QueryRow(`SELECT count(*) FROM shipments`).Scan(&n) // no table yet
		return n >= want
	}, func() any { return n })
}
