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
	for _, c := range []struct {
		name, producer, receiptTo string
		topic                     bool
		want                      string
	}{
		{"an outbox", "shop", "ack.shop." + identity, false, "shop." + identity},
		{"another name in the header", "mallory", "ack.shop." + identity, false, "shop." + identity},
		{"a name with dots", "shop.eu", "ack.shop.eu." + identity, false, "shop.eu." + identity},
		{"a relay of version 1", "shop", "ack.shop", false, "shop."},
		{"a relay of version 1 whose name has a dot", "shop.eu", "ack.shop.eu", false, "shop.eu."},
		{"no receipts wanted", "shop", "", false, "shop."},
		{"a foreign producer", "", "", false, "."},
		{"a topic of an outbox", "shop", "ack.shop." + identity, true, "shop." + identity + ".sub"},
		{"a topic, and no receipts wanted", "shop", "", true, "shop."},
		{"a queue that calls itself a topic's", "shop", "ack.shop." + identity + ".sub", false, "shop."},
		{"an identity alone", "shop", "ack." + identity, false, "shop."},
		{"what is no identity", "shop", "ack.shop.7Q3MK2XW9D4HZNSB6T5VFC8A", false, "shop."},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := store.Source(c.producer, c.receiptTo, c.topic); got != c.want {
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

func TestWhatComesFromTopicsIsForgottenByItself(t *testing.T) {
	const queue, topic = "shop." + identity, "shop." + identity + ".sub"
	f := newForgetting(t)
	done, away := f.id(3*24), f.id(2*24)
	f.once(topic, done, store.Fresh)
	f.once(queue, f.id(2*24), store.Fresh)
	f.floor(queue, 0)
	f.floor(topic, 2*24)
	forget := func(retention store.Retention, want int64) {
		t.Helper()
		if got, err := f.PruneBy(t.Context(), f.now, retention, 100); err != nil || got != want {
			t.Errorf("got %d records forgotten (%v), want %d", got, err, want)
		}
	}
	week := store.Retention{Confirmed: store.DefaultRetention, Foreign: store.DefaultForeignRetention}
	forget(week, 1)                            // as a process does that has no handler of a topic
	f.once(queue, f.id(2*24), store.Forgotten) // nobody keeps it from being forgotten
	f.once(topic, away, store.Fresh)           // the consumer was away, and nobody waited for it
	f.once(topic, done, store.Duplicate)       // and knows what it had
	f.once(queue, done, store.Duplicate)       // by whatever way it comes
	f.once(topic, f.id(8*24), store.Forgotten) // the floor of the queues holds for topics
	forget(store.Retention{Confirmed: 3 * 7 * 24 * time.Hour, Foreign: time.Hour}, 0)
	f.once(topic, f.id(6*24), store.Fresh) // the longer one holds for topics
}

func TestTheFloorOfAnOutboxHoldsForItsTopicsAndQueues(t *testing.T) {
	const queue, topic = "shop." + identity, "shop." + identity + ".sub"
	for _, c := range []struct{ told, other string }{{queue, topic}, {topic, queue}} {
		t.Run(c.told, func(t *testing.T) {
			f := newForgetting(t)
			f.once(c.other, f.id(20), store.Fresh)
			f.once("shop", f.id(20), store.Fresh)
			f.floor("shop", 25)
			f.floor(c.other, 21)
			f.prune(0)
			f.floor(c.told, 2) // the other one says nothing any more
			f.prune(2)
			f.once(c.other, f.id(20), store.Forgotten)
		})
	}
}
