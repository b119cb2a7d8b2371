package journey

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
)

// fill commits n messages of 256 bytes, without keys.
func (w *world) fill(n int) {
	w.t.Helper()
	body := []byte(strings.Repeat("x", 256))
	w.commitMany(n, func(int) waybill.Message { return waybill.Message{Destination: "events", Body: body} })
	analyze := `ANALYZE`
	if w.database.name == onMySQL.name {
		analyze = `ANALYZE TABLE qmessage`
	}
	w.exec(w.producer, analyze)
}

// BenchmarkChain measures outbox table → relay → memory broker → inbox → receipt →
// row gone, with a handler that does nothing; on PostgreSQL beside the least that any
// such system must do with a database: scan, insert record rows, delete, in batches of
// 500, in one goroutine.
func BenchmarkChain(b *testing.B) {
	const messages = 50_000
	for _, d := range databases {
		b.Run(d.name, func(b *testing.B) { chain(b, d, messages) })
	}
	b.Run("bare", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			w := newWorld(b, onPostgres, memory.New(nil))
			w.fill(messages)
			b.StartTimer()
			for w.bareBatch() {
			}
		}
		b.ReportMetric(float64(b.N)*messages/b.Elapsed().Seconds(), "msg/s")
	})
}

func chain(b *testing.B, d database, messages int) {
	for range b.N {
		b.StopTimer()
		w := newWorld(b, d, memory.New(nil))
		w.fill(messages)
		in, err := inbox.New(w.consumer, d.dialect, w.broker, &inbox.Options{Consumer: "bench", Batch: 500, Logger: w.log})
		if err != nil {
			b.Fatal(err)
		}
		in.Handle("events", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
		stopInbox := w.runs(in.Run)
		r := w.relay()
		b.StartTimer()
		stopRelay := w.runs(r.Run)
		for r.Stats().Confirmed < int64(messages) {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		stopRelay()
		stopInbox()
		if left := w.left(); left > 0 {
			b.Fatalf("%d rows left", left)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*float64(messages)/b.Elapsed().Seconds(), "msg/s")
}

func (w *world) bareBatch() bool {
	ctx := context.Background()
	rows, err := w.producer.QueryContext(ctx, `SELECT id, message_id, message_content FROM qmessage ORDER BY id LIMIT 500`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	var ids, messages []string
	for rows.Next() {
		var id int64
		var message string
		var body []byte
		if err := rows.Scan(&id, &message, &body); err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, fmt.Sprint(id))
		messages = append(messages, message)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	if len(ids) == 0 {
		return false
	}
	tx, err := w.consumer.BeginTx(ctx, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `INSERT INTO n1_record (consumer, message_id, time_stamp, producer) SELECT 'bare', m, 1, '' FROM unnest($1::text::uuid[]) AS m ON CONFLICT DO NOTHING`, "{"+strings.Join(messages, ",")+"}"); err != nil {
		w.t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		w.t.Fatal(err)
	}
	w.exec(w.producer, `DELETE FROM qmessage WHERE id = ANY ($1::text::bigint[])`, "{"+strings.Join(ids, ",")+"}")
	return true
}

// BenchmarkBesideABacklog measures how fast a destination's messages are delivered by
// themselves, and where nine tenths of the rows, between them, are another's whose consumer
// is away.
func BenchmarkBesideABacklog(b *testing.B) {
	const messages = 30_000
	for _, d := range databases {
		for _, c := range []struct {
			name  string
			stuck int
		}{{"alone", 0}, {"beside a backlog", 9}} {
			b.Run(d.name+"/"+c.name, func(b *testing.B) { besideBacklog(b, d, messages, c.stuck) })
		}
	}
}

// besideBacklog delivers messages between which there are so many others each that nobody
// takes.
func besideBacklog(b *testing.B, d database, messages, stuck int) {
	for range b.N {
		b.StopTimer()
		w := newWorld(b, d, memory.New(nil))
		w.fillBySQL(messages, stuck)
		in, err := inbox.New(w.consumer, d.dialect, w.broker, &inbox.Options{Consumer: "bench", Batch: 500, Logger: w.log})
		if err != nil {
			b.Fatal(err)
		}
		in.Handle("events", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
		stopInbox := w.runs(in.Run)
		r := w.relay()
		b.StartTimer()
		stopRelay := w.runs(r.Run)
		for r.Stats().Confirmed < int64(messages) {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		stopRelay()
		stopInbox()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*float64(messages)/b.Elapsed().Seconds(), "msg/s")
}

// fillBySQL commits n messages of 256 bytes, and so many to another destination with each.
func (w *world) fillBySQL(n, others int) {
	w.t.Helper()
	numbers := `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO qmessage (destination, message_content) SELECT CASE WHEN MOD(i, %d) = 0 THEN 'events' ELSE 'stuck' END, %s FROM n`
	if w.database.name == onMySQL.name {
		numbers = `INSERT INTO qmessage (destination, message_content)
			SELECT CASE WHEN MOD(seq, %[2]d) = 0 THEN 'events' ELSE 'stuck' END, %[3]s FROM seq_0_to_%[1]d`
	}
	body := `'` + strings.Repeat("x", 256) + `'`
	if w.database.name == onPostgres.name {
		body += `::bytea`
	}
	w.exec(w.producer, fmt.Sprintf(numbers, n*(others+1)-1, others+1, body))
}

// BenchmarkBatchHandler measures how fast an inbox handles what its broker has already, where
// each message's effect is one row: with a statement for each, and with one for a batch.
func BenchmarkBatchHandler(b *testing.B) {
	const messages = 20_000
	for _, d := range databases {
		for _, way := range []struct {
			name   string
			handle func(w *world, in *inbox.Inbox)
		}{
			{"Handle", func(w *world, in *inbox.Inbox) { in.Handle("orders", waybill.Once, w.record) }},
			{"HandleBatch", func(w *world, in *inbox.Inbox) { in.HandleBatch("orders", waybill.Once, w.recordAll) }},
		} {
			b.Run(d.name+"/"+way.name, func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					w := newWorld(b, d, memory.New(nil))
					p := w.peer()
					for range messages {
						p.publish(arrival(waybill.NewID(), "orders", "", 1))
					}
					in := w.newInbox(&w.inboxOptions)
					way.handle(w, in)
					b.StartTimer()
					stop := w.runs(in.Run)
					for in.Stats().Handled < messages {
						time.Sleep(time.Millisecond)
					}
					b.StopTimer()
					stop()
				}
				b.ReportMetric(float64(b.N)*messages/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// BenchmarkAnOpenPage measures what it costs a relay with a backlog of half a million messages
// that somebody has its page open, with its updates: in turns of 50,000 messages, which come
// first without, then with it, next the other way round, so that what
// changes slowly does not count. It reports the
// medians of both, and by how much the pace with it is below that of the turn beside: the
// median.
func BenchmarkAnOpenPage(b *testing.B) {
	for _, d := range databases {
		b.Run(d.name, func(b *testing.B) {
			for range b.N {
				openPage(b, d)
			}
		})
	}
}

func openPage(b *testing.B, d database) {
	const turns, turn = 12, 50_000
	b.StopTimer()
	w := newWorld(b, d, memory.New(nil))
	w.fillBySQL((turns+1)*turn, 0)
	in, err := inbox.New(w.consumer, d.dialect, w.broker, &inbox.Options{Consumer: "bench", Batch: 500, Logger: w.log})
	if err != nil {
		b.Fatal(err)
	}
	in.Handle("events", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
	r := w.relay()
	var consoles []*admin.Console // one for each turn: an idle one goes on looking for a while
	for range turns {
		console, err := admin.NewConsole(&admin.Options{Logger: w.log}, admin.Database{Name: "bench", DB: w.producer, Dialect: d.dialect, Relay: r})
		if err != nil {
			b.Fatal(err)
		}
		defer console.Close()
		consoles = append(consoles, console)
	}
	b.StartTimer()
	stopInbox, stopRelay := w.runs(in.Run), w.runs(r.Run)
	reach := func(n int64) (confirmed int64, at time.Time) {
		for confirmed < n {
			time.Sleep(time.Millisecond)
			confirmed = r.Stats().Confirmed
		}
		return confirmed, time.Now()
	}
	reach(turn / 2) // it has come up to speed
	paces, costs := map[bool][]float64{}, []float64{}
	for i, console := range consoles {
		open := i%4 == 1 || i%4 == 2
		from, began := r.Stats().Confirmed, time.Now()
		closePage := func() {}
		if open {
			closePage = w.opensPage(console)
		}
		to, ended := reach(from + turn)
		closePage()
		paces[open] = append(paces[open], float64(to-from)/ended.Sub(began).Seconds())
		if pairs := i / 2; i%2 == 1 {
			costs = append(costs, 100*(1-paces[true][pairs]/paces[false][pairs]))
		}
	}
	b.StopTimer()
	stopRelay()
	stopInbox()
	b.ReportMetric(median(paces[false]), "msg/s-closed")
	b.ReportMetric(median(paces[true]), "msg/s-open")
	b.ReportMetric(median(costs), "%-cost")
	b.Logf("costs by pair of turns, in %%: %.1f", costs)
}

// opensPage opens the overview and reads its updates until it is closed.
func (w *world) opensPage(console *admin.Console) (closePage func()) {
	w.t.Helper()
	server := httptest.NewServer(console)
	page, err := http.Get(server.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	page.Body.Close()
	events, err := http.Get(server.URL + "/events")
	if err != nil {
		w.t.Fatal(err)
	}
	read := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, events.Body) // until it is closed
		read <- n
	}()
	return func() {
		console.Close()
		if n := <-read; n == 0 || page.StatusCode != http.StatusOK || events.StatusCode != http.StatusOK {
			w.t.Errorf("got %d, %d and %d bytes of updates, want the page", page.StatusCode, events.StatusCode, n)
		}
		events.Body.Close()
		server.Close()
	}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}
