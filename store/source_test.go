package store_test

import (
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

const identity = "7q3mk2xw9d4hznsb6t5vfc8a"

func TestASourceIsAsTheReceiptQueueNamesIt(t *testing.T) {
	for _, c := range []struct{ name, producer, receiptTo, want string }{
		{"an outbox", "shop", "ack.shop." + identity, "shop." + identity},
		{"another name in the header", "mallory", "ack.shop." + identity, "shop." + identity},
		{"a name with dots", "shop.eu", "ack.shop.eu." + identity, "shop.eu." + identity},
		{"a relay of version 1", "shop", "ack.shop", "shop."},
		{"a relay of version 1 whose name has a dot", "shop.eu", "ack.shop.eu", "shop.eu."},
		{"no receipts wanted", "shop", "", "shop."},
		{"a foreign producer", "", "", "."},
		{"an identity alone", "shop", "ack." + identity, "shop."},
		{"what is no identity", "shop", "ack.shop.7Q3MK2XW9D4HZNSB6T5VFC8A", "shop."},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := store.Source(c.producer, c.receiptTo); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// forgetting is a ledger, and a time of which ids are minted.
type forgetting struct {
	*store.Ledger
	t   *testing.T
	now time.Time
}

func newForgetting(t *testing.T) *forgetting {
	t.Helper()
	db := open(t)
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Consumer); err != nil {
		t.Fatal(err)
	}
	ledger, err := store.NewLedger(db, sqlite.Dialect(), "", "shipping")
	if err != nil {
		t.Fatal(err)
	}
	return &forgetting{ledger, t, time.Now()}
}

func (f *forgetting) id(hoursAgo int) waybill.ID {
	return waybill.NewIDAt(f.now.Add(-time.Duration(hoursAgo) * time.Hour))
}

func (f *forgetting) floor(source string, hoursAgo int) {
	f.t.Helper()
	if err := f.SaveFloor(f.t.Context(), source, waybill.LowestID(f.now.Add(-time.Duration(hoursAgo)*time.Hour))); err != nil {
		f.t.Fatal(err)
	}
}

// prune forgets what is older than an hour, and checks how many records go.
func (f *forgetting) prune(want int64) {
	f.t.Helper()
	if got, err := f.Prune(f.t.Context(), f.now, time.Hour, 100); err != nil || got != want {
		f.t.Errorf("got %d records forgotten (%v), want %d", got, err, want)
	}
}

func (f *forgetting) once(source string, id waybill.ID, want store.Verdict) {
	f.t.Helper()
	tx, err := f.Begin(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	defer tx.Rollback()
	got, err := f.RecordOnce(f.t.Context(), tx, []store.Mark{{ID: id, Producer: source, Destination: "orders"}})
	if err == nil && want != store.Forgotten {
		err = tx.Commit(f.t.Context())
	}
	if err != nil || got[0] != want {
		f.t.Errorf("%s, message of %v: got %v (%v), want %v", source, id.Time(), got, err, want)
	}
}

func TestAStrangersFloorForgetsNothingOfAnOutbox(t *testing.T) {
	f := newForgetting(t)
	ours := "shop." + identity
	done, waiting := f.id(10), f.id(9)
	f.once(ours, done, store.Fresh)
	f.floor(ours, 11)
	for _, stranger := range []string{"shop.", "shop.0000000000000000", "."} {
		f.floor(stranger, 0)
	}
	f.prune(0)
	f.once(ours, done, store.Duplicate)
	f.once(ours, waiting, store.Fresh)
	f.floor(ours, 0)
	f.prune(2)
	f.once(ours, done, store.Forgotten)
}

func TestRecordsOfVersion1GoWhenTheirOutboxTellsFloorsUnderItsIdentity(t *testing.T) {
	f := newForgetting(t)
	ours := "shop." + identity
	gone, pending, last := f.id(30), f.id(20), f.id(10)
	for _, id := range []waybill.ID{gone, pending, last} {
		f.once("shop", id, store.Fresh)
	}
	f.floor("shop", 25)
	f.prune(1)
	f.once(ours, gone, store.Forgotten)
	f.once(ours, pending, store.Duplicate)
	f.floor(ours, 21) // pending is what it still sends
	f.prune(0)
	f.once(ours, pending, store.Duplicate)
	f.floor("shop.", 0) // an upgraded outbox's messages without receipts, or a stranger's
	f.prune(0)
	f.floor(ours, 2)
	f.prune(2)
	f.once(ours, pending, store.Forgotten)
	f.once(ours, last, store.Forgotten)
	f.once(ours, f.id(0), store.Fresh)
}

func TestARecordIsKeptForEachOutboxThatHadItsProducersName(t *testing.T) {
	f := newForgetting(t)
	pending := f.id(20)
	f.once("shop.", pending, store.Fresh)
	f.floor("shop.", 21)
	f.floor("shop."+identity, 2)
	f.floor("shop.0000000000000000", 21)
	f.prune(0)
	f.once("shop.0000000000000000", pending, store.Duplicate)
	f.floor("shop.0000000000000000", 2)
	f.prune(1)
}

func TestRecordsOfAProducerWithoutFloorsGoByTheirAge(t *testing.T) {
	f := newForgetting(t)
	old, young := f.id(20), f.id(0)
	f.once(".", old, store.Fresh)
	f.once(".", young, store.Fresh)
	if err := f.SaveFloor(t.Context(), ".", waybill.ID{}); err != nil {
		t.Fatal(err)
	}
	f.prune(1)
	f.once(".", young, store.Duplicate)
}
