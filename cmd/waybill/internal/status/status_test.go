package status_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
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

type base struct {
	t       *testing.T
	db      *sql.DB
	dialect store.Dialect
	prefix  string
	reader  *status.Reader
}

func open(t *testing.T, addr, prefix string) *base {
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
	return &base{t, db, dialect, prefix, reader}
}

func (b *base) migrate(sides ...store.Side) {
	b.t.Helper()
	for _, side := range sides {
		if err := store.Migrate(b.t.Context(), b.db, b.dialect, b.prefix, side); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *base) read() *status.Report {
	b.t.Helper()
	r, err := b.reader.Read(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *base) text() string {
	b.t.Helper()
	var out bytes.Buffer
	if err := b.read().Write(&out); err != nil {
		b.t.Fatal(err)
	}
	return out.String()
}

func (b *base) send(messages ...waybill.Message) {
	b.t.Helper()
	out, err := outbox.New(b.dialect, &outbox.Options{TablePrefix: b.prefix})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := out.InTx(b.t.Context(), b.db, func(tx *sql.Tx) error { return out.Send(b.t.Context(), tx, messages...) }); err != nil {
		b.t.Fatal(err)
	}
}

func TestReadWithoutTablesNamesInit(t *testing.T) {
	b := open(t, "sqlite:"+filepath.Join(t.TempDir(), "app.db"), "")
	if _, err := b.reader.Read(t.Context()); !errors.Is(err, status.ErrNoTables) || !strings.Contains(err.Error(), "waybill init") {
		t.Errorf("%v", err)
	}
	b.migrate(store.Consumer)
	if r := b.read(); !strings.Contains(r.Producer.Problem, "waybill init --side producer") || r.Consumer.Problem != "" || r.Producer.Destinations == nil {
		t.Errorf("%+v", r)
	}
}

func TestReadOnEveryDatabase(t *testing.T) {
	for _, variable := range []string{"", "WAYBILL_TEST_POSTGRES", "WAYBILL_TEST_MYSQL"} {
		t.Run(variable, func(t *testing.T) {
			if variable == "" {
				b := open(t, "sqlite:"+filepath.Join(t.TempDir(), "app.db"), "app_")
				b.migrate(store.Producer, store.Consumer)
				b.everything()
				return
			}
			b := open(t, testserver.Address(t, variable), "status_"+strings.ToLower(rand.Text()[:10])+".")
			b.migrate(store.Producer, store.Consumer)
			t.Cleanup(b.drop)
			b.everything()
		})
	}
}

// drop drops the schema that holds the tables; MySQL calls it a database.
func (b *base) drop() {
	statement := "DROP SCHEMA " + strings.TrimSuffix(b.prefix, ".")
	if b.dialect.Name() == "postgres" {
		statement += " CASCADE"
	}
	if _, err := b.db.Exec(statement); err != nil {
		b.t.Errorf("%s: %v", statement, err)
	}
}

func (b *base) everything() {
	t, ctx := b.t, b.t.Context()
	queue, err := store.NewQueue(b.db, b.dialect, b.prefix)
	if err != nil {
		t.Fatal(err)
	}
	if text := b.text(); !strings.Contains(text, "none has led yet") || !strings.Contains(text, "none has recorded anything yet") {
		t.Errorf("an empty database:\n%s", text)
	}
	var meter status.Meter
	meter.Observe(b.read())

	rejected := waybill.NewID()
	b.send(waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders", ID: rejected},
		waybill.Message{Destination: "prices", Topic: true, NotBefore: time.Now().Add(time.Hour)})
	if found, err := queue.Reject(ctx, rejected, "no"); err != nil || !found {
		t.Fatal(found, err)
	}
	if _, err := queue.AcquireLease(ctx, "relay", "host/1/X", time.Minute); err != nil {
		t.Fatal(err)
	}
	r := b.read()
	meter.Observe(r)
	if r.Rates == nil || r.Rates.Committed <= 0 || r.Rates.Confirmed != 0 {
		t.Errorf("rates %+v", r.Rates)
	}
	p := r.Producer
	if p.Pending != 3 || p.Rejected != 1 || len(p.Destinations) != 3 || p.Relay == nil || !p.Relay.Leading || p.Relay.Holder != "host/1/X" || p.Relay.Left < 50 {
		t.Errorf("%+v", p)
	}
	if d := p.Destinations[0]; d.Destination != "orders" || d.Status != "pending" || d.Messages != 2 || d.MostCopies != 0 || d.OldestAge < -1 || d.OldestAge > 60 {
		t.Errorf("%+v", d)
	}
	if d := p.Destinations[2]; !d.Topic || d.OldestAge > -3000 {
		t.Errorf("%+v", d)
	}
	for _, want := range []string{"host/1/X leads", "prices (topic)", "due in 59m", "Rejected  1"} {
		if text := b.text(); !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if err := queue.ReleaseLease(ctx, "relay", "host/1/X", 7); err != nil {
		t.Fatal(err)
	}
	if text := b.text(); !strings.Contains(text, "none leads; the last one stopped after row 7") {
		t.Errorf("after the lease was given back:\n%s", text)
	}

	b.record(ctx)
	c := b.read().Consumer
	if len(c.Consumers) != 2 || c.Consumers[0].Consumer != "billing" || *c.Consumers[0].Once != 2 || *c.Consumers[0].Latest != 0 ||
		*c.Consumers[1].Latest != 1 || len(c.Consumers[1].Producers) != 1 || c.Consumers[1].Producers[0].Floor == "" || c.Consumers[1].Producers[0].Forgotten != "" {
		t.Errorf("%+v", c)
	}
	if text := b.text(); !strings.Contains(text, "billing") || !strings.Contains(text, "nothing") {
		t.Errorf("consumers:\n%s", text)
	}
}

// record writes records of two consumers, and a floor.
func (b *base) record(ctx context.Context) {
	b.t.Helper()
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
		ledger, err := store.NewLedger(b.db, b.dialect, b.prefix, consumer)
		if err != nil {
			b.t.Fatal(err)
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
			b.t.Fatal(err)
		}
	}
}
