package storetest_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/waybill-go/waybill/store/sqlite"
	"github.com/waybill-go/waybill/store/storetest"
)

// harness is all that the suite needs to know; the dialect would be your own.
var harness = storetest.Harness{
	Dialect: sqlite.Dialect(),
	Open: func(t testing.TB) *sql.DB {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db")+"?_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)")
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(4)
		t.Cleanup(func() { _ = db.Close() })
		return db
	},
}

// The test of a dialect runs the whole suite.
func ExampleTest() {
	_ = func(t *testing.T) { // func TestConformance(t *testing.T)
		storetest.Test(t, harness)
	}
}

// Random sequences of the engine's methods are compared with plain maps in memory.
func ExampleProperties() {
	_ = func(t *testing.T) { // func TestProperties(t *testing.T)
		storetest.Properties(t, harness)
	}
}

// What a message costs in the database.
func ExampleBenchmark() {
	_ = func(b *testing.B) { // func BenchmarkStore(b *testing.B)
		storetest.Benchmark(b, harness)
	}
}
