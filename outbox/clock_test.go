package outbox_test

import (
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// databaseTime is the database's clock.
func databaseTime(t *testing.T, db *sql.DB) time.Time {
	t.Helper()
	queue := must(store.NewQueue(db, sqlite.Dialect(), ""))
	now, err := queue.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(now)
}

// sentIDs are the ids of all rows, in order of row.
func sentIDs(t *testing.T, db *sql.DB) (ids []waybill.ID) {
	t.Helper()
	queue := must(store.NewQueue(db, sqlite.Dialect(), ""))
	rows, err := queue.Scan(t.Context(), 0, 1000, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		ids = append(ids, r.MessageID)
	}
	return ids
}

// In a bubble the host's clock shows the year 2000; that of the database goes right.
func TestIDsAreMintedByTheDatabasesClockWhateverTheHostsShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		db.SetMaxOpenConns(1)
		if off := time.Until(databaseTime(t, db)); off < 24*time.Hour {
			t.Skipf("the database's clock is %v ahead only", off)
		}
		out := must(outbox.New(sqlite.Dialect(), nil))
		send := func(messages ...waybill.Message) error {
			return out.InTx(t.Context(), db, func(tx *sql.Tx) error { return out.Send(t.Context(), tx, messages...) })
		}
		before := databaseTime(t, db)
		for range 3 {
			if err := send(waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders"}); err != nil {
				t.Fatal(err)
			}
		}
		ids := sentIDs(t, db)
		if len(ids) != 6 {
			t.Fatalf("got %d rows, want 6", len(ids))
		}
		for i, id := range ids {
			if at := id.Time(); at.Before(before.Add(-time.Second)) || at.After(before.Add(time.Minute)) {
				t.Errorf("got the id %s of %v, want one of %v", id, at, before)
			}
			if i > 0 && id.Compare(ids[i-1]) <= 0 {
				t.Errorf("got the id %s behind %s, want them to rise", id, ids[i-1])
			}
		}
		due := databaseTime(t, db).Add(time.Hour)
		if err := send(waybill.Message{Destination: "later", NotBefore: due}); err != nil {
			t.Fatal(err)
		}
		if id := sentIDs(t, db)[6]; id.Time().UnixMilli() != due.UnixMilli() {
			t.Errorf("got the id %s of %v, want one of its time, %v", id, id.Time(), due)
		}
	})
}

func TestAnOwnIDThatIsFarFromTheDatabasesClockIsRefused(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), nil))
	now := time.Now()
	month := 30 * 24 * time.Hour
	for _, c := range []struct {
		name    string
		m       waybill.Message
		refused bool
	}{
		{"days old", waybill.Message{ID: waybill.NewIDAt(now.Add(-8 * 24 * time.Hour))}, true},
		{"hours old", waybill.Message{ID: waybill.NewIDAt(now.Add(-11 * time.Hour))}, false},
		{"hours ahead", waybill.Message{ID: waybill.NewIDAt(now.Add(11 * time.Hour))}, false},
		{"a month ahead", waybill.Message{ID: waybill.NewIDAt(now.Add(month))}, true},
		{"a month ahead, and due then", waybill.Message{ID: waybill.NewIDAt(now.Add(month)), NotBefore: now.Add(month)}, false},
		{"of now, and due in a month", waybill.Message{ID: waybill.NewIDAt(now), NotBefore: now.Add(month)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.m.Destination = "orders"
			err := out.InTx(t.Context(), db, func(tx *sql.Tx) error { return out.Send(t.Context(), tx, c.m) })
			var bad *waybill.MessageError
			if refused := errors.As(err, &bad) && bad.Field == "ID"; refused != c.refused {
				t.Errorf("got error %v, want a MessageError of the ID: %v", err, c.refused)
			}
		})
	}
}

func TestAReceivedMessageThatIsSentOnIsAMessageOfItsOwn(t *testing.T) {
	old := waybill.NewIDAt(time.Now().Add(-8 * 24 * time.Hour))
	for _, c := range []struct {
		name string
		m    waybill.Message
	}{
		{"without a key", waybill.Message{ID: waybill.NewID(), Producer: "shop", TimeStamp: 77}},
		{"with a key", waybill.Message{ID: waybill.NewID(), Producer: "shop", Key: "k", TimeStamp: 1 << 60, Sequence: 9}},
		{"of a nameless producer", waybill.Message{ID: waybill.NewID(), Key: "k", TimeStamp: 77, Sequence: 9}},
		{"a copy", waybill.Message{ID: waybill.NewID(), Attempt: 3, Failures: 2}},
		{"an old one", waybill.Message{ID: old, Producer: "shop"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := open(t)
			out := must(outbox.New(sqlite.Dialect(), nil))
			c.m.Destination, c.m.Body, c.m.Headers = "enriched", []byte("body"), map[string]string{"traceparent": "00-1-2-3"}
			before := databaseTime(t, db).UnixMicro()
			if err := out.InTx(t.Context(), db, func(tx *sql.Tx) error { return out.Send(t.Context(), tx, c.m, c.m) }); err != nil {
				t.Fatal(err)
			}
			queue := must(store.NewQueue(db, sqlite.Dialect(), ""))
			rows, err := queue.Scan(t.Context(), 0, 10, 0)
			if err != nil || len(rows) != 2 {
				t.Fatalf("got %d rows (%v), want 2", len(rows), err)
			}
			for i, r := range rows {
				wantSequence := int64(0)
				if c.m.Key != "" {
					wantSequence = int64(i) + 1
				}
				if r.MessageID == c.m.ID || r.TimeStamp < before || r.TimeStamp > before+time.Hour.Microseconds() || r.Sequence != wantSequence {
					t.Errorf("got the row %+v, want an id, a time stamp and a sequence of its own", r)
				}
				if r.Headers != `{"traceparent":"00-1-2-3"}` || string(r.Body) != "body" {
					t.Errorf("got the headers %s and the body %q, want those of the message", r.Headers, r.Body)
				}
			}
		})
	}
}
