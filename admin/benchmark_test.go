package admin_test

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
)

// BenchmarkAMillionPendingRows asks for each page of a database with a million pending rows
// to so many destinations, 10,000 rejected ones between them, and 10,000 that consumers keep:
// each time by a Console that has just begun, so that nothing is in its memory. A page is to
// answer within 100 ms: that of the rejected ones says how many it has looked at by then. It reports the median, and the slowest.
func BenchmarkAMillionPendingRows(b *testing.B) {
	for _, name := range []string{"sqlite", "postgres", "mysql"} {
		for _, destinations := range []int{1, 3, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", name, destinations), func(b *testing.B) {
				database, rejected := million(b, name, destinations)
				for _, page := range []struct{ name, path string }{
					{"overview", "/"},
					{"rejected", "/rejected"},
					{"messages", "/messages"},
					{"messages of a destination", "/messages?order=oldest&destination=destination-0"},
					{"rejected messages", "/messages?status=rejected"},
					{"search that finds nothing", "/messages?key=none"},
					{"message", "/messages/" + rejected},
					{"consumers", "/consumers"},
				} {
					b.Run(page.name, func(b *testing.B) { first(b, database, page.path) })
				}
			})
		}
	}
}

// first asks for a page of Consoles that have just begun.
func first(b *testing.B, database admin.Database, path string) {
	var took []time.Duration
	for range b.N {
		console, err := admin.NewConsole(&admin.Options{Logger: slog.New(slog.DiscardHandler), Timeout: time.Minute}, database)
		if err != nil {
			b.Fatal(err)
		}
		if path == "/" {
			admin.Eager(console) // otherwise it answers in any case, and says that it counts
		}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host, r.RemoteAddr = "localhost:8080", "127.0.0.1:4711"
		w := httptest.NewRecorder()
		began := time.Now()
		console.ServeHTTP(w, r)
		took = append(took, time.Since(began))
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "has not answered") {
			b.Fatalf("got %d and\n%s", w.Code, w.Body)
		}
		console.Close()
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op") // that has the Consoles' own beginning, too
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms")
	b.ReportMetric(took[len(took)-1].Seconds()*1000, "ms-slowest")
}

// fill has the statements that insert pending rows and kept ones, by database: with the
// prefix, the number of rows, and that of destinations or of those that are rejected.
var fill = map[string][2]string{
	"sqlite": {
		`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %[2]d)
		INSERT INTO %[1]sqmessage (destination, message_content) SELECT 'destination-' || (i %% %[3]d), zeroblob(256) FROM n`,
		`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %[2]d)
		INSERT INTO %[1]sn_rejected (` + keptColumns + `) SELECT 'c' || (i %% 10), ` + keptID + `, ` + strings.Replace(keptValues, `'[]', ''`, `'[]', x''`, 1) + ` FROM n`,
	},
	"postgres": {
		`INSERT INTO %[1]sqmessage (destination, message_content)
		SELECT 'destination-' || (i %% %[3]d), decode(repeat('00', 256), 'hex') FROM generate_series(1, %[2]d) i`,
		`INSERT INTO %[1]sn_rejected (` + keptColumns + `) SELECT 'c' || (i %% 10), ` + keptID + `::uuid, ` + keptValues + ` FROM generate_series(1, %[2]d) i`,
	},
	"mysql": {
		`INSERT INTO %[1]sqmessage (destination, message_content)
		SELECT CONCAT('destination-', seq %% %[3]d), REPEAT('x', 256) FROM seq_1_to_%[2]d`,
		`INSERT INTO %[1]sn_rejected (` + keptColumns + `) SELECT CONCAT('c', i %% 10), ` + keptID + `, ` + keptValues + `
		FROM (SELECT seq AS i FROM seq_1_to_%[2]d) AS n`,
	},
}

const (
	keptColumns = `consumer, message_id, dest_name, dest_type, business_mark, delivery, headers, message_content,
		status, tries, failures, not_before, kept_at, tried_at, reason`
	keptID     = `'01900000-0000-7000-8000-000000000000'`
	keptValues = `'foreign', 0, '', i, '[]', '', 2, 1, 0, 0, 1700000000000000, 1700000000000000, 'cannot be read'`
)

// million makes a database, and returns the id of a rejected message, too.
func million(b *testing.B, kind string, destinations int) (d admin.Database, rejected string) {
	const rows, each = 1_000_000, 100 // one in so many is rejected
	addr, prefix := "sqlite:"+filepath.Join(b.TempDir(), "app.db"), ""
	if kind != "sqlite" {
		addr, prefix = testserver.Address(b, "WAYBILL_TEST_"+strings.ToUpper(kind)), "bench_"+strings.ToLower(rand.Text()[:10])+"."
	}
	db, dialect, err := address.OpenDatabase(addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if prefix != "" {
			cascade := map[string]string{"postgres": " CASCADE"}[kind]
			if _, err := db.Exec("DROP SCHEMA " + strings.TrimSuffix(prefix, ".") + cascade); err != nil {
				b.Error(err)
			}
		}
		_ = db.Close()
	})
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		must(store.Migrate(b.Context(), db, dialect, prefix, side))
	}
	concat := map[string]string{"mysql": `CONCAT('shipping: no order ', id)`}[kind]
	if concat == "" {
		concat = `'shipping: no order ' || id`
	}
	for _, s := range []string{
		fmt.Sprintf(fill[kind][0], prefix, rows, destinations),
		fmt.Sprintf(`UPDATE %sqmessage SET status = 2, last_error = %s WHERE id %% %d = 0`, prefix, concat, each),
		fmt.Sprintf(fill[kind][1], prefix, rows/each),
	} {
		_, err := db.ExecContext(b.Context(), s)
		must(err)
	}
	must(db.QueryRowContext(b.Context(), fmt.Sprintf(`SELECT message_id FROM %sqmessage WHERE id = %d`, prefix, rows/2)).Scan(&rejected))
	return admin.Database{Name: "million", DB: db, Dialect: dialect, TablePrefix: prefix}, rejected
}
