package sqlite_test

import (
	"database/sql"
	_ "embed"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/waybill-go/waybill/store/sqlite"
	"github.com/waybill-go/waybill/store/storetest"
)

//go:embed testdata/version1.sql
var version1 string

func TestConformance(t *testing.T) {
	storetest.Test(t, harness)
}

func TestProperties(t *testing.T) { storetest.Properties(t, harness) }

func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, harness) }

func BenchmarkPrune(b *testing.B) { storetest.BenchmarkPrune(b, harness) }

var harness = storetest.Harness{
	Version1: version1,
	Dialect:  sqlite.Dialect(),
	Open: func(t testing.TB) *sql.DB {
		return open(t, "_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
	},
}

func open(t testing.TB, settings string) *sql.DB {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db")+"?"+settings)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(4)
	t.Cleanup(func() { db.Close() })
	return db
}
