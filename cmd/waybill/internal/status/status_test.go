package status_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/status"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
)

// database is one that a test fills.
type database struct {
	t       *testing.T
	db      *sql.DB
	dialect store.Dialect
	prefix  string
	reader  *status.Reader
}

func open(t *testing.T, addr, prefix string) *database {
	t.Helper()
	db, dialect, err := address.OpenDatabase(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	reader, err := status.NewReader(db, dialect, prefix, "the database")
	if err != nil {
		t.Fatal(err)
	}
	return &database{t, db, dialect, prefix, reader}
}

func (d *database) migrate(sides ...store.Side) {
	d.t.Helper()
	for _, side := range sides {
		if err := store.Migrate(d.t.Context(), d.db, d.dialect, d.prefix, side); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *database) read() *status.Report {
	d.t.Helper()
	r, err := d.reader.Read(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *database) text() string {
	d.t.Helper()
	var out bytes.Buffer
	if err := d.read().Write(&out); err != nil {
		d.t.Fatal(err)
	}
	return out.String()
}

func (d *database) send(messages ...waybill.Message) {
	d.t.Helper()
	out, err := outbox.New(d.dialect, &outbox.Options{TablePrefix: d.prefix})
	if err != nil {
		d.t.Fatal(err)
	}
	if err := out.InTx(d.t.Context(), d.db, func(tx *sql.Tx) error { return out.Send(d.t.Context(), tx, messages...) }); err != nil {
		d.t.Fatal(err)
	}
}

func TestReadWithoutTablesNamesInit(t *testing.T) {
	d := open(t, "sqlite:"+filepath.Join(t.TempDir(), "app.db"), "")
	if _, err := d.reader.Read(t.Context()); !errors.Is(err, status.ErrNoTables) || !strings.Contains(err.Error(), "waybill init") {
		t.Errorf("got %v, want ErrNoTables and the command that makes them", err)
	}
	d.migrate(store.Consumer)
	if r := d.read(); !strings.Contains(r.Producer.Problem, "waybill init --side producer") || r.Consumer.Problem != "" || r.Producer.Destinations == nil {
		t.Errorf("got %+v, want the producer's problem alone", r)
	}
}

func TestReadOnEveryDatabase(t *testing.T) {
	for _, variable := range []string{"", "WAYBILL_TEST_POSTGRES", "WAYBILL_TEST_MYSQL"} {
		t.Run(variable, func(t *testing.T) {
			if variable == "" {
				d := open(t, "sqlite:"+filepath.Join(t.TempDir(), "app.db"), "app_")
				d.migrate(store.Producer, store.Consumer)
				d.everything()
				return
			}
			d := open(t, testserver.Address(t, variable), "status_"+strings.ToLower(rand.Text()[:10])+".")
			d.migrate(store.Producer, store.Consumer)
			t.Cleanup(d.drop)
			d.everything()
		})
	}
}

// drop drops the schema that holds the tables; MySQL calls it a database.
func (d *database) drop() {
	statement := "DROP SCHEMA " + strings.TrimSuffix(d.prefix, ".")
	if d.dialect.Name() == "postgres" {
		statement += " CASCADE"
	}
	if _, err := d.db.Exec(statement); err != nil {
		d.t.Errorf("%s: %v", statement, err)
	}
}

func (d *database) everything() {
	t, ctx := d.t, d.t.Context()
	queue, err := store.NewQueue(d.db, d.dialect, d.prefix)
	if err != nil {
		t.Fatal(err)
	}
	if text := d.text(); !strings.Contains(text, "none has led yet") || !strings.Contains(text, "none has recorded anything yet") {
		t.Errorf("an empty database: got\n%swant no relay and no consumer", text)
	}
	var meter status.Meter
	meter.Observe(d.read())

	rejected := waybill.NewID()
	d.send(waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders", ID: rejected},
		waybill.Message{Destination: "prices", Topic: true, NotBefore: time.Now().Add(time.Hour)})
	if found, err := queue.Reject(ctx, rejected, "no"); err != nil || !found {
		t.Fatal(found, err)
	}
	if _, err := queue.AcquireLease(ctx, "relay", "host/1/X", time.Minute); err != nil {
		t.Fatal(err)
	}
	if text := d.text(); strings.Contains(text, "Twin ") {
		t.Errorf("got\n%swant nothing of a copied database", text)
	}
	if err := queue.NoteTwin(ctx, "staging/1/Y"); err != nil {
		t.Fatal(err)
	}
	r := d.read()
	meter.Observe(r)
	if identity, err := queue.Identity(ctx); err != nil || r.Producer.Identity != identity || r.Producer.Twin == nil || r.Producer.Twin.Holder != "staging/1/Y" || r.Producer.Twin.Ago > 60 {
		t.Errorf("got the identity %q and the twin %+v, want %q (%v) and the one that was heard", r.Producer.Identity, r.Producer.Twin, identity, err)
	}
	if r.Rates == nil || r.Rates.Committed <= 0 || r.Rates.Confirmed == nil || *r.Rates.Confirmed != 0 {
		t.Errorf("got rates %+v, want messages committed and none confirmed", r.Rates)
	}
	p := r.Producer
	if p.Pending != 3 || p.Rejected != 1 || len(p.Destinations) != 3 || p.Relay == nil || !p.Relay.Leading || p.Relay.Holder != "host/1/X" || p.Relay.Left < 50 {
		t.Errorf("got %+v, want 3 pending, 1 rejected and a relay that leads", p)
	}
	if d := p.Destinations[0]; d.Destination != "orders" || d.Status != "pending" || d.Messages != 2 || d.MostCopies != 0 || d.OldestAge < -1 || d.OldestAge > 60 {
		t.Errorf("got %+v, want 2 young messages to orders, without copies", d)
	}
	if d := p.Destinations[2]; !d.Topic || d.OldestAge < 0 || d.OldestAge > 60 || d.Delayed != 1 || d.DueIn < 3000 {
		t.Errorf("got %+v, want a topic whose message was sent just now and is due in an hour", d)
	}
	if len(p.Waits) != 0 {
		t.Errorf("got %+v, want nothing of what the relay has not noted", p.Waits)
	}
	for _, w := range []store.Wait{{Why: "there is no connection to the broker: gone"}, {Destination: "prices", Topic: true, Since: 90 * time.Second, Why: "no receipts come"}} {
		if err := queue.NoteWait(ctx, w, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"host/1/X leads", "staging/1/Y has this outbox's identity", "prices (topic)", "1, due in 59m", "Rejected  1", "'waybill resend' or 'waybill discard'", "): there is no connection to the broker: gone\n", "prices (topic), since ", " (1m3"} {
		if text := d.text(); !strings.Contains(text, want) {
			t.Errorf("got\n%swant %q in it", text, want)
		}
	}
	if err := queue.ReleaseLease(ctx, "relay", "host/1/X", 7); err != nil {
		t.Fatal(err)
	}
	if text := d.text(); !strings.Contains(text, "none leads; the last one stopped after row 7") || !strings.Contains(text, "): no relay leads: ") || strings.Contains(text, "gone") {
		t.Errorf("after the lease was given back: got\n%swant that none leads", text)
	}

	d.record(ctx)
	c := d.read().Consumer
	if len(c.Consumers) != 2 || c.Consumers[0].Consumer != "billing" || c.Consumers[0].Once != 2 || c.Consumers[0].Latest != 0 ||
		c.Consumers[1].Latest != 1 || len(c.Consumers[1].Producers) != 1 || c.Consumers[1].Producers[0].Floor == "" || c.Consumers[1].Producers[0].Forgotten != "" {
		t.Errorf("got %+v, want billing and shipping with their records", c)
	}
	if text := d.text(); !strings.Contains(text, "billing") || !strings.Contains(text, "nothing") {
		t.Errorf("got\n%swant the consumers, and that nothing is forgotten", text)
	}
	d.keep(ctx, "archive", store.Rejected, store.Rejected, store.Pending)
	if c := d.read().Consumer.Consumers; len(c) != 3 || c[0].Consumer != "archive" || c[0].KeptRejected != 2 || c[0].KeptWaiting != 1 || c[1].KeptRejected != 0 || c[0].KeptAtLeast {
		t.Errorf("got %+v, want archive first, which keeps 2 rejected messages and 1 that waits", c)
	}
}

// keep has a consumer keep messages of these statuses.
func (d *database) keep(ctx context.Context, consumer string, statuses ...int) {
	d.t.Helper()
	ledger, err := store.NewLedger(d.db, d.dialect, d.prefix, consumer)
	if err != nil {
		d.t.Fatal(err)
	}
	var all []store.Kept
	for i, status := range statuses {
		all = append(all, store.Kept{MessageID: waybill.NewID(), Destination: "orders", Delivery: fmt.Sprint(i), Headers: "{}", Status: status, Reason: "no"})
	}
	if err := ledger.Keep(ctx, all, make([]time.Duration, len(all))); err != nil {
		d.t.Fatal(err)
	}
}

func TestMoreThanTenThousandRowsAreCountedOnRequestAlone(t *testing.T) {
	d := open(t, "sqlite:"+filepath.Join(t.TempDir(), "app.db"), "")
	d.migrate(store.Producer, store.Consumer)
	const many = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10500) `
	for _, statement := range []string{
		`INSERT INTO qmessage (destination, message_content) ` + many + `SELECT CASE i WHEN 5200 THEN 'hidden' ELSE 'orders' END, x'00' FROM n`,
		`INSERT INTO n1_record (consumer, message_id, time_stamp, producer) ` + many + `SELECT 'shipping', printf('01890a5d-ac96-774b-bcce-%012d', i), 1, 'p.' FROM n`,
	} {
		if _, err := d.db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	var meter status.Meter
	r := d.read()
	meter.Observe(r)
	if p := r.Producer; p.Pending != 10_000 || !p.PendingAtLeast || len(p.Destinations) != 1 || !p.Destinations[0].AtLeast || p.RejectedAtLeast {
		t.Errorf("got %+v, want 10,000 pending messages or more, to the one destination that was seen", p)
	}
	if c := r.Consumer.Consumers; len(c) != 1 || c[0].Once != 10_000 || !c[0].OnceAtLeast || c[0].LatestAtLeast {
		t.Errorf("got %+v, want 10,000 records or more", c)
	}
	for _, want := range []string{"Pending   10,000+", "--exact counts all"} {
		if text := d.text(); !strings.Contains(text, want) {
			t.Errorf("got\n%swant %q in it", text, want)
		}
	}
	again := d.read()
	if meter.Observe(again); again.Rates != nil && again.Rates.Confirmed != nil {
		t.Errorf("got %+v, want no rate of what was not counted", again.Rates)
	}
	d.reader.Exact = true
	r = d.read()
	if p, c := r.Producer, r.Consumer.Consumers; p.Pending != 10_500 || p.PendingAtLeast || len(p.Destinations) != 2 || len(c) != 1 || c[0].Once != 10_500 || c[0].OnceAtLeast {
		t.Errorf("got %+v and %+v, want 10,500 of both", p, c)
	}
}

// record writes records of two consumers, and a floor.
func (d *database) record(ctx context.Context) {
	d.t.Helper()
	for consumer, record := range map[string]func(*store.Ledger, store.Session) error{
		"billing": func(l *store.Ledger, tx store.Session) error {
			_, err := l.RecordOnce(ctx, tx, []store.Mark{{ID: waybill.NewID(), Producer: "p", Destination: "d"}, {ID: waybill.NewID(), Producer: "p", Destination: "d"}})
			return err
		},
		"shipping": func(l *store.Ledger, tx store.Session) error {
			_, err := l.RecordLatest(ctx, tx, []store.Mark{{ID: waybill.NewID(), Producer: "p", Destination: "d", Key: "k", TimeStamp: 1}})
			return err
		},
	} {
		ledger, err := store.NewLedger(d.db, d.dialect, d.prefix, consumer)
		if err != nil {
			d.t.Fatal(err)
		}
		tx, err := ledger.Begin(ctx)
		if err == nil {
			if err = record(ledger, tx); err == nil {
				err = tx.Commit(ctx)
			}
		}
		if err == nil && consumer == "shipping" {
			err = ledger.SaveFloor(ctx, "p", waybill.NewID())
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

func TestReadTellsWhatMayLoseCommits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	d := open(t, "sqlite:"+path, "")
	d.migrate(store.Producer)
	if r := d.read(); len(r.Findings) != 0 {
		t.Errorf("got %+v of good tables, want no findings", r.Findings)
	}
	d.db.SetMaxOpenConns(1)
	if _, err := d.db.Exec(`PRAGMA synchronous = OFF`); err != nil {
		t.Fatal(err)
	}
	reader, err := status.NewReader(d.db, d.dialect, "", "the database")
	if err != nil {
		t.Fatal(err)
	}
	d.reader = reader
	if r := d.read(); len(r.Findings) != 1 || r.Findings[0].Blocks || !strings.Contains(d.text(), "synchronous is OFF") {
		t.Errorf("got %+v, want a remark that synchronous is OFF", r.Findings)
	}
}
