package survey_test

import (
	"crypto/rand"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
)

// BenchmarkAMillionPendingRows reads what the pages show of an outbox with a million pending
// rows to 10,000 destinations, and a thousand rejected ones. The page is to answer within
// 100 ms.
func BenchmarkAMillionPendingRows(b *testing.B) {
	for _, name := range []string{"sqlite", "postgres", "mysql"} {
		b.Run(name, func(b *testing.B) {
			r, queue := million(b, name)
			rejected, err := queue.GlanceRejected(b.Context(), waybill.ID{}, 1)
			if err != nil || len(rejected) == 0 {
				b.Fatal(rejected, err)
			}
			for _, c := range []struct {
				name string
				read func() error
			}{
				{"overview", func() error { _, err := r.Outbox(b.Context(), nil); return err }},
				{"rejected", func() error { _, err := r.Groups(b.Context(), &survey.Selection{}); return err }},
				{"search that finds nothing", func() error { _, err := r.Search(b.Context(), survey.Filter{Key: "none"}); return err }},
				{"search for rejected ones", func() error { _, err := r.Search(b.Context(), survey.Filter{Status: "rejected"}); return err }},
				{"message", func() error { _, err := r.Message(b.Context(), rejected[0].MessageID); return err }},
			} {
				b.Run(c.name, func(b *testing.B) {
					for b.Loop() {
						if err := c.read(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// fill inserts rows as plain SQL does: with the prefix, the number of rows, and that of
// destinations.
var fill = map[string]string{
	"sqlite": `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %[2]d)
		INSERT INTO %[1]sqmessage (destination, message_content) SELECT 'destination-' || (i %% %[3]d), zeroblob(256) FROM n`,
	"postgres": `INSERT INTO %[1]sqmessage (destination, message_content)
		SELECT 'destination-' || (i %% %[3]d), decode(repeat('00', 256), 'hex') FROM generate_series(1, %[2]d) i`,
	"mysql": `INSERT INTO %[1]sqmessage (destination, message_content)
		SELECT CONCAT('destination-', seq %% %[3]d), REPEAT('x', 256) FROM seq_1_to_%[2]d`,
}

func million(b *testing.B, kind string) (*survey.Reader, *store.Queue) {
	const rows, destinations, rejected = 1_000_000, 10_000, 1000
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
	must(store.Migrate(b.Context(), db, dialect, prefix, store.Producer))
	_, err = db.ExecContext(b.Context(), fmt.Sprintf(fill[kind], prefix, rows, destinations))
	must(err)
	queue, err := store.NewQueue(db, dialect, prefix)
	must(err)
	some, err := queue.Glance(b.Context(), math.MaxInt64, true, rejected)
	must(err)
	for i := range some {
		_, err := queue.Reject(b.Context(), some[i].MessageID, fmt.Sprintf("shipping: no order %d", i))
		must(err)
	}
	r, err := survey.NewReader(db, dialect, prefix)
	must(err)
	b.Cleanup(r.Close)
	return r, queue
}
