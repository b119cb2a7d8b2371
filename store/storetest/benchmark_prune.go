package storetest

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// BenchmarkPrune measures pruning n1_record at 1, 3 and 10 million records of one producer, a
// record a millisecond: a pass that forgets a minute of them, as running inboxes do, and one
// that forgets the rest. It reports how many records a second go, and how many bytes a row
// of each table takes. It is to be run with -benchtime 1x, and takes minutes.
func BenchmarkPrune(b *testing.B, h Harness) {
	h.check(b)
	const million, minute = 1_000_000, 60_000
	for _, millions := range []int{1, 3, 10} {
		b.Run(fmt.Sprint(millions, " million"), func(b *testing.B) {
			db, names := opened(b, h)
			ledger, err := store.NewLedger(db, h.Dialect, "", consumer)
			benchMust(b, err)
			f := filler{b, h, db, names}
			now := time.Now().Truncate(time.Millisecond)
			first := now.Add(-time.Duration(millions*million) * time.Millisecond)
			before := f.size(names.Once)
			for m := range millions {
				f.once(first.UnixMilli() + int64(m)*million)
			}
			each := float64(f.size(names.Once)-before) / float64(millions*million)
			benchMust(b, ledger.SaveFloor(b.Context(), "shop", waybill.LowestID(now.Add(time.Hour))))
			pass := func(until time.Time, want int64, unit string) {
				began := time.Now()
				gone, err := ledger.Prune(b.Context(), until, 0, 1000)
				benchMust(b, err)
				if gone != want {
					b.Fatalf("got %d records forgotten, want %d", gone, want)
				}
				b.ReportMetric(float64(gone)/time.Since(began).Seconds(), unit)
			}
			for b.Loop() {
				pass(first.Add(minute*time.Millisecond), minute, "records/s-first-minute")
				pass(first.Add(2*minute*time.Millisecond), minute, "records/s-next-minute")
				pass(now, int64(millions*million-2*minute), "records/s-rest")
			}
			b.ReportMetric(each, "n1_record-bytes/row")
		})
	}
	b.Run("bytes", func(b *testing.B) {
		db, names := opened(b, h)
		f := filler{b, h, db, names}
		for b.Loop() {
			f.measure("qmessage", names.Message, `INSERT INTO {qmessage} (destination, message_content) SELECT 'orders', `+f.body()+` FROM `+numbers(5))
			f.measure("qmessage_key", names.MessageKey, `INSERT INTO {qmessage_key} (destination, dest_type, business_mark, sequence, time_stamp)
				SELECT 'orders', 0, `+f.key()+`, 1, 1790000000000000 FROM `+numbers(5))
			guard, value := "", ""
			if h.Dialect.Name() == "mysql" {
				guard, value = ", guard", ", 1"
			}
			f.measure("n2_record", names.Latest, `INSERT INTO {n2_record} (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer`+guard+`)
				SELECT 'shipping', 'orders', 0, `+f.key()+`, 1790000000000000, `+f.id(1790000000000)+`, 'shop.7q3mk2xw9d4hznsb6t5vfc8a'`+value+` FROM `+numbers(5))
		}
	})
}

// filler fills tables by statements of its own, which are faster than the engine's.
type filler struct {
	b     *testing.B
	h     Harness
	db    *sql.DB
	names store.Names
}

func benchMust(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (f filler) exec(text string) {
	f.b.Helper()
	_, err := f.db.ExecContext(f.b.Context(), f.names.SQL(text))
	benchMust(f.b, err)
}

// numbers is a table of the numbers i below a power of ten.
func numbers(power int) string {
	i, from := "0", ""
	for p, factor := 0, 1; p < power; p, factor = p+1, factor*10 {
		i += fmt.Sprintf(" + %d * d%d.n", factor, p)
		if p > 0 {
			from += ", "
		}
		from += fmt.Sprintf(`(SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
			UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9) AS d%d`, p)
	}
	return `(SELECT ` + i + ` AS i FROM ` + from + `) AS numbers`
}

// id is an id of the time from + i, in ms.
func (f filler) id(from int64) string {
	switch f.h.Dialect.Name() {
	case "postgres":
		return fmt.Sprintf(`encode(int8send((%d + i)::bigint << 16 | 28672) || '\x80'::bytea || substring(decode(md5(i::text), 'hex') FOR 7), 'hex')::uuid`, from)
	case "sqlite":
		return fmt.Sprintf(`printf('%%08x-%%04x-7000-8000-%%012x', (%d + i) >> 16, (%d + i) & 65535, i)`, from, from)
	}
	return fmt.Sprintf(`LOWER(CONCAT(LPAD(HEX((%d + i) >> 16), 8, '0'), '-', LPAD(HEX((%d + i) & 65535), 4, '0'), '-7000-8000-', LPAD(HEX(i), 12, '0')))`, from, from)
}

func (f filler) key() string {
	if f.h.Dialect.Name() == "mysql" {
		return `CONCAT('order ', 10000000 + i)`
	}
	return `'order ' || (10000000 + i)`
}

func (f filler) body() string {
	switch f.h.Dialect.Name() {
	case "postgres":
		return `decode(repeat('00', 256), 'hex')`
	case "sqlite":
		return `zeroblob(256)`
	}
	return `REPEAT('x', 256)`
}

// once writes a million records of n1_record from a time on, in ms.
func (f filler) once(from int64) {
	f.b.Helper()
	guard, value := "", ""
	if f.h.Dialect.Name() == "mysql" {
		guard, value = ", guard", ", 1"
	}
	f.exec(`INSERT INTO {n1_record} (consumer, message_id, time_stamp, producer` + guard + `)
		SELECT 'shipping', ` + f.id(from) + `, 1790000000000000, 'shop'` + value + ` FROM ` + numbers(6) + ` ORDER BY i`)
}

// measure reports the bytes of a table's row, indexes included, by 100,000 of them.
func (f filler) measure(name, table, fill string) {
	f.b.Helper()
	before := f.size(table)
	f.exec(fill)
	f.b.ReportMetric(float64(f.size(table)-before)/100_000, name+"-bytes/row")
}

// size is what a table takes, in bytes, with its indexes; in SQLite the whole database.
func (f filler) size(table string) (bytes int64) {
	f.b.Helper()
	query := `SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`
	switch f.h.Dialect.Name() {
	case "postgres":
		query = `SELECT pg_total_relation_size('` + table + `')`
	case "mysql":
		_, err := f.db.ExecContext(f.b.Context(), `ANALYZE TABLE `+table)
		benchMust(f.b, err)
		query = `SELECT data_length + index_length FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '` + table + `'`
	}
	benchMust(f.b, f.db.QueryRowContext(f.b.Context(), query).Scan(&bytes))
	return bytes
}
