package journey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// reader is a consumer of the topic "prices" which records what it does under its own
// name. Messages whose body is "poison" it hands to bad, where that is not nil.
func (w *world) reader(name string, bad func() error) *inbox.Inbox {
	w.t.Helper()
	in := w.newInbox(&inbox.Options{Consumer: name, Logger: w.log})
	in.HandleWith("prices", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		if bad != nil && string(m.Body) == "poison" {
			return bad()
		}
		_, err := tx.ExecContext(ctx, w.q(`INSERT INTO done VALUES (?, ?, ?, ?)`), m.ID.String(), name, m.Key, m.TimeStamp)
		return err
	}, &inbox.HandleOptions{Topic: true})
	return in
}

// has counts what a reader has done.
func (w *world) has(name string) int64 {
	return w.number(w.consumer, w.q(`SELECT count(*) FROM done WHERE destination = ?`), name)
}

// subscribes lets readers connect, which makes their subscriptions, and stops them.
func (w *world) subscribes(readers ...*inbox.Inbox) {
	w.t.Helper()
	for _, in := range readers {
		stop := w.runs(in.Run)
		w.waits("it is connected", 10*time.Second, func() bool { return in.Stats().Connected })
		stop()
	}
}

func (w *world) prices(n int, body string) {
	w.t.Helper()
	w.commitMany(n, func(int) waybill.Message {
		return waybill.Message{Destination: "prices", Topic: true, Body: []byte(body)}
	})
}

func (w *world) wantOnceEach(name string, want int64) {
	w.t.Helper()
	if n := w.number(w.consumer, w.q(`SELECT count(DISTINCT message_id) FROM done WHERE destination = ?`), name); n != want || w.has(name) != want {
		w.t.Errorf("%s has handled %d messages in %d calls, want each of the %d once", name, n, w.has(name), want)
	}
}

func TestANamedConsumerThatIsDownHoldsUpNobodyAndGetsEverythingInTheEnd(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		for _, wiped := range []bool{false, true} {
			t.Run(fmt.Sprintf("the broker loses its disk %v", wiped), func(t *testing.T) {
				n := 600
				if d.dialect.Capabilities().SingleWriter {
					n /= 4 // it is a good deal slower under the race detector
				}
				b := memory.New(nil)
				w := newWorld(t, d, b)
				w.relayOptions.Destinations = map[string]relay.Destination{"prices": {Consumers: []string{"shop", "mail", "audit"}, Window: 50}}
				w.subscribes(w.reader("audit", nil))
				w.runs(w.reader("shop", nil).Run)
				w.runs(w.reader("mail", nil).Run)
				r := w.relay()
				stop := w.runs(r.Run)
				w.prices(n, "x")
				for _, name := range []string{"shop", "mail"} {
					w.waits(name+" has all, though audit is down", 30*time.Second, func() bool { return w.has(name) == int64(n) })
				}
				w.waits("it is known who lags", 10*time.Second, func() bool {
					all := r.Stats().Destinations
					return len(all) == 1 && len(all[0].Lagging) == 1 && all[0].Lagging[0].Consumer == "audit"
				})
				if left := w.left(); left != int64(n) {
					t.Fatalf("%d rows are left before audit has confirmed, want %d", left, n)
				}
				if wiped {
					b.Wipe()
				}
				stop()
				w.runs(w.relay().Run) // another one takes over
				w.runs(w.reader("audit", nil).Run)
				w.prices(n, "later")
				w.emptied(60 * time.Second)
				for _, name := range []string{"shop", "mail", "audit"} {
					w.wantOnceEach(name, int64(2*n))
				}
				w.waits("no answers are left", 10*time.Second, func() bool { return w.number(w.producer, `SELECT count(*) FROM qconfirmed`) == 0 })
			})
		}
	})
}

func TestWhatOneNamedConsumerRejectsTheOthersStillGet(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		b := memory.New(nil)
		w := newWorld(t, d, b)
		w.relayOptions.Destinations = map[string]relay.Destination{"prices": {Consumers: []string{"shop", "audit"}}}
		mended := make(chan struct{})
		w.runs(w.reader("shop", func() error {
			select {
			case <-mended:
				return nil
			default:
				return waybill.Permanent(errors.New("no such price"))
			}
		}).Run)
		stop := w.runs(w.relay().Run)
		w.prices(20, "poison")
		rejections := func() int64 {
			return w.number(w.producer, `SELECT count(*) FROM qconfirmed WHERE consumer = 'shop' AND outcome = 2`)
		}
		w.waits("shop's rejections are noted", 10*time.Second, func() bool { return rejections() == 20 })
		if n := w.number(w.producer, `SELECT count(*) FROM qmessage WHERE status = 0`); n != 20 {
			t.Fatalf("%d rows are pending for audit, want 20", n)
		}
		b.Wipe()
		stop()
		w.runs(w.relay().Run)
		w.runs(w.reader("audit", nil).Run)
		w.waits("audit has all of them", 60*time.Second, func() bool { return w.has("audit") == 20 })
		w.waits("a person is asked", 20*time.Second, func() bool {
			return w.number(w.producer, `SELECT count(*) FROM qmessage WHERE status = 2 AND last_error LIKE 'shop: %no such price%'`) == 20
		})

		close(mended)
		queue, err := store.NewQueue(w.producer, d.dialect, "")
		if err != nil {
			t.Fatal(err)
		}
		// Copies that were meant for audit have come to shop too, and it may reject a few
		// of these yet: then a person sends them again.
		w.waits("all are sent again and confirmed", 30*time.Second, func() bool {
			rows, err := queue.List(context.Background(), "prices", store.Rejected, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				if _, _, err := queue.Resend(context.Background(), r.MessageID, false); err != nil {
					t.Fatal(err)
				}
			}
			return w.left() == 0
		})
		w.wantOnceEach("audit", 20)
	})
}

func TestANamedConsumerThatFailsForAWhileLeavesTheOthersConfirmations(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.Destinations = map[string]relay.Destination{"prices": {Consumers: []string{"shop", "audit"}, Window: 20}}
		w.relayOptions.MaxRetry = 200 * time.Millisecond
		failures := make(chan struct{}, 200) // how often audit still fails
		for range cap(failures) {
			failures <- struct{}{}
		}
		audit := w.reader("audit", func() error {
			select {
			case <-failures:
				return errors.New("not now")
			default:
				return nil
			}
		})
		w.runs(w.reader("shop", nil).Run)
		w.runs(audit.Run)
		w.runs(w.relay().Run)
		w.prices(50, "poison")
		w.waits("shop has all, though audit fails", 20*time.Second, func() bool { return w.has("shop") == 50 })
		w.emptied(60 * time.Second)
		w.wantOnceEach("shop", 50)
		w.waits("no answers are left", 10*time.Second, func() bool { return w.number(w.producer, `SELECT count(*) FROM qconfirmed`) == 0 })
	})
}
