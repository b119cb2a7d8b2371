package journey

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

func TestAMessageTravelsWithTheHeadersOfTheProtocol(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.runs(w.relay().Run)
		received := w.peer().subscribe(broker.Subscription{Destination: "orders"})
		id := waybill.NewID()
		w.commit(waybill.Message{ID: id, Destination: "orders", Key: "order 7", TimeStamp: 42, Body: []byte{0, 255}, Headers: map[string]string{"content-type": "application/x-odd", "traceparent": "00-1-2-3"}})
		m := received.next()
		for name, want := range map[string]string{
			"messageId": id.String(), "businessMark": "order 7", "timeStamp": "42", "sequence": "1", "producer": "waybill",
			"receiptTo": w.receiptQueue(), "attempt": "0", "traceparent": "00-1-2-3",
		} {
			if got := header(t, m, name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if m.ContentType != "application/x-odd" || string(m.Body) != "\x00\xff" {
			t.Errorf("got content type %q, body %q; want them as they were sent", m.ContentType, m.Body)
		}
		// Its receipt never comes: it is sent again, and says so.
		m = received.next()
		if got := header(t, m, "attempt"); got != "1" {
			t.Errorf("attempt = %q, want 1", got)
		}
		lowest := waybill.LowestID(id.Time()).String()
		for range 50 { // the floor is not asked for each time
			if header(t, m, "floor") == lowest {
				break
			}
			m = received.next()
		}
		if floor := header(t, m, "floor"); floor != lowest || floor == id.String() {
			t.Errorf("floor = %q, want %s, the lowest id of the time of %s and not the message's", floor, lowest, id)
		}
	})
}

// tellsFloors commits a few messages to "orders", one after the other, and checks that
// each tells a floor that is not above its own id.
func (w *world) tellsFloors(orders *subscription) {
	w.t.Helper()
	for range 3 {
		id := waybill.NewID()
		w.commit(waybill.Message{ID: id, Destination: "orders"})
		floor, err := waybill.ParseID(header(w.t, orders.next(), "floor"))
		if err != nil || !floor.IsV7() || floor.Compare(id) > 0 {
			w.t.Errorf("got the floor %v (%v) with message %v, want an id that is not above it", floor, err, id)
		}
	}
}

func TestARejectedMessageHoldsTheFloorForItsTimeAndNoLonger(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		for _, c := range []struct {
			name string
			hold time.Duration
			ago  time.Duration // since it was rejected
			want bool
		}{
			{"by default", 0, 0, true}, {"never", -1, 0, false},
			{"from its rejection on", time.Hour, 0, true}, {"when its time is over", time.Hour, 2 * time.Hour, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				w := newWorld(t, d, memory.New(nil))
				w.relayOptions.RejectedHold = c.hold
				queue, err := store.NewQueue(w.producer, w.database.dialect, "")
				if err != nil {
					t.Fatal(err)
				}
				rejected := waybill.NewIDAt(time.Now().Add(-11 * time.Hour))
				w.commit(waybill.Message{ID: rejected, Destination: "mails"})
				if found, err := queue.Reject(t.Context(), rejected, "no"); err != nil || !found {
					t.Fatal(found, err)
				}
				w.exec(w.producer, fmt.Sprintf(`UPDATE qmessage SET not_before = not_before - %d WHERE status = 2`, c.ago.Microseconds()))
				w.runs(w.relay().Run)
				received := w.peer().subscribe(broker.Subscription{Destination: "orders"})
				pending := waybill.NewID()
				w.commit(waybill.Message{ID: pending, Destination: "orders"})
				want := waybill.LowestID(pending.Time()).String()
				if c.want {
					want = waybill.LowestID(rejected.Time()).String()
				}
				w.waits("the floor", 30*time.Second, func() bool { return header(t, received.next(), "floor") == want })
			})
		}
	})
}

func TestTheFirstMessageIntoAnEmptyTableTellsAFloor(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		r := w.relay()
		w.runs(r.Run)
		received := w.peer().subscribe(broker.Subscription{Destination: "orders"})
		w.waits("the relay reads", 10*time.Second, func() bool { return r.Stats().Connected })
		w.tellsFloors(received)
	})
}

func TestARowThatIsDelayedForLongIsNoFloor(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.commit(waybill.Message{Destination: "orders", NotBefore: time.Now().Add(60 * 24 * time.Hour)})
		w.runs(w.relay().Run)
		received := w.peer().subscribe(broker.Subscription{Destination: "orders"})
		w.tellsFloors(received)
	})
}

func TestAReceiptThatMakesNoSenseIsDroppedAndTheOthersCount(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		r := w.relay()
		w.runs(r.Run)
		p := w.peer()
		received := p.subscribe(broker.Subscription{Destination: "orders"})
		id := waybill.NewID()
		w.commit(waybill.Message{ID: id, Destination: "orders"})
		received.next()
		bad := []string{
			``, `{`, `[]`, `null`, `"done"`, `{"receipts":"done"}`, `{"receipts":[7]}`,
			`{"consumer":"x","receipts":[{"id":"no uuid","outcome":"done"}]}`,
			fmt.Sprintf(`{"consumer":"x","receipts":[{"id":%q,"outcome":"perhaps"}]}`, id),
		}
		for _, body := range bad {
			p.receipt(body)
		}
		p.publish(broker.Message{Destination: w.receiptQueue(), Body: []byte("no header")})
		p.says(waybill.NewID(), "done", "") // forged: an id that this outbox never had
		p.says(waybill.NewID(), "retry", `,"after_ms":-5`)
		p.says(waybill.NewID(), "rejected", "")
		w.waits("all are read", 5*time.Second, func() bool { return r.Stats().Malformed >= int64(len(bad))-2 && r.Stats().Receipts >= 3 })
		if n := w.left(); n != 1 {
			t.Fatalf("%d rows are left after receipts that make no sense, want 1", n)
		}
		p.receipt(fmt.Sprintf(`{"consumer":"x","receipts":[{"id":"odd","outcome":"done"},{"id":%q,"outcome":"done"}]}`, id))
		w.emptied(5 * time.Second)
		p.says(id, "done", "") // repeated
		p.says(id, "rejected", "")
		w.waits("repeated receipts are read", 5*time.Second, func() bool { return r.Stats().Receipts >= 6 })
	})
}

func TestARejectedMessageStaysForAPersonAndCanBeSentAgain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.MaxResend = 500 * time.Millisecond
		r := w.relay()
		w.runs(r.Run)
		p := w.peer()
		received := p.subscribe(broker.Subscription{Destination: "orders"})
		id := waybill.NewID()
		w.commit(waybill.Message{ID: id, Destination: "orders", Key: "k", Body: []byte("b")})
		received.next()
		p.says(id, "rejected", `,"error":"no such order"`)
		w.waits("it is rejected", 5*time.Second, w.isRejected)
		// Copies may have been on their way, and one may go out yet; those of a relay that goes on never end.
		for copies, most := int64(1), r.Stats().Published+1; ; copies++ {
			m, ok := received.within(1200 * time.Millisecond)
			if !ok {
				break
			}
			if copies == most {
				t.Fatalf("a rejected message is sent again and again: %v", m.Headers)
			}
		}
		queue, err := store.NewQueue(w.producer, d.dialect, "")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := queue.List(context.Background(), "", store.Rejected, 0, 10)
		if err != nil || len(rows) != 1 || rows[0].LastError != "peer: no such order" {
			t.Fatalf("got the rejected rows %+v (%v), want one with the reason", rows, err)
		}
		again, ok, err := queue.Resend(context.Background(), id, false)
		if err != nil || !ok || again != id {
			t.Fatalf("resend: got id %v, found %v (%v); want the same id %v and true", again, ok, err, id)
		}
		if m := received.next(); idOf(t, m) != id || string(m.Body) != "b" {
			t.Fatalf("got message %v with body %q again, want %v with body b", idOf(t, m), m.Body, id)
		}
		p.says(id, "done", "")
		w.emptied(5 * time.Second)
	})
}

func TestARetryReceiptBringsTheNextCopyAfterItsTime(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.resendsNever()
		w.relayOptions.MinRetry = time.Millisecond
		w.runs(w.relay().Run)
		p := w.peer()
		received := p.subscribe(broker.Subscription{Destination: "orders"})
		id := waybill.NewID()
		w.commit(waybill.Message{ID: id, Destination: "orders"})
		for failures := range 3 {
			m := received.next()
			if got, _ := m.Header("failures"); failures > 0 && got != fmt.Sprint(failures) {
				t.Errorf("failures = %q, want %d", got, failures)
			}
			if got := header(t, m, "attempt"); got != fmt.Sprint(failures) {
				t.Errorf("attempt = %q, want %d", got, failures)
			}
			p.says(id, "retry", `,"error":"not now"`)
		}
		received.next()
		asked := time.Now()
		p.says(id, "retry", `,"after_ms":700,"error":"in a while"`)
		m := received.next()
		if took := time.Since(asked); took < 700*time.Millisecond {
			t.Errorf("the copy came after %v, want 700ms at least", took)
		}
		if got := header(t, m, "failures"); got != "3" {
			t.Errorf("failures = %q, want 3: a delay that was asked for is no failure", got)
		}
		p.says(id, "done", "")
		w.emptied(5 * time.Second)
	})
}

func TestADelayedMessageWaitsForItsTimeAndHoldsNoFloor(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.runs(w.relay().Run)
		w.runs(w.inbox().Run)
		due := time.Now().Add(1500 * time.Millisecond)
		w.commit(waybill.Message{Destination: "events", Key: "later", NotBefore: due})
		w.commit(waybill.Message{Destination: "events", Key: "month", NotBefore: due.Add(30 * 24 * time.Hour)})
		w.commit(waybill.Message{Destination: "events", Key: "now"})
		w.waits("the undelayed one is done", 5*time.Second, func() bool { return w.effects() >= 1 })
		w.waits("the delayed one is done", 10*time.Second, func() bool { return w.effects() == 2 })
		if time.Now().Before(due) {
			t.Errorf("it came %v early", time.Until(due))
		}
		w.waits("its row goes", 5*time.Second, func() bool { return w.left() == 1 })
		queue, err := store.NewQueue(w.producer, d.dialect, "")
		if err != nil {
			t.Fatal(err)
		}
		floor, err := queue.Floor(context.Background())
		if err != nil || floor.Time().Before(due.Add(29*24*time.Hour)) {
			t.Errorf("got a floor of the time %v (%v), want that of the row of next month", floor.Time(), err)
		}
	})
}

func TestRowsThatCommitLateAreFound(t *testing.T) {
	t.Parallel()
	d := onPostgres // SQLite has one writer, whose rows commit in order
	w := newWorld(t, d, memory.New(nil))
	w.resendsNever()
	r := w.relay()
	w.runs(r.Run)
	w.runs(w.inbox().Run)
	tx, err := w.producer.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.write(context.Background(), tx, waybill.Message{Destination: "events"}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := w.send(context.Background(), waybill.Message{Destination: "events"}); err != nil {
			t.Fatal(err)
		}
	}
	w.waits("the cursor has passed it", 5*time.Second, func() bool { return r.Stats().Confirmed == 20 })
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	w.emptied(5 * time.Second)
	w.judge()
	if n := r.Stats().Copies; n > 0 {
		t.Errorf("sent %d copies, want none", n)
	}
}

func TestADestinationWhoseConsumerIsDownHoldsUpNobody(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.Window = 50
		r := w.relay()
		w.runs(r.Run)
		w.runs(w.inbox().Run)
		for i := range 400 {
			w.commit(waybill.Message{Destination: "nobody", Body: fmt.Append(nil, i)})
			if i%4 == 0 {
				w.commit(waybill.Message{Destination: "events"})
			}
		}
		w.waits("the others are done", 20*time.Second, func() bool { return w.effects() == 100 })
		for _, d := range r.Stats().Destinations {
			if d.Destination == "nobody" && (d.Unconfirmed > 50 || !d.Backlog) {
				t.Errorf("got %+v, want at most 50 unconfirmed and a backlog", d)
			}
		}
		// Its consumer comes: the backlog arrives, in order.
		p := w.peer()
		received := p.subscribe(broker.Subscription{Destination: "nobody"})
		seen := map[int]bool{}
		last := -1
		for len(seen) < 400 {
			m := received.next()
			i, err := strconv.Atoi(string(m.Body))
			if err != nil {
				t.Fatal(err)
			}
			if !seen[i] && i < last {
				t.Errorf("message %d first came after %d", i, last)
			}
			last = max(last, i)
			seen[i] = true
			p.says(idOf(t, m), "done", "")
		}
		w.emptied(10 * time.Second)
	})
}

func TestAcceptedLetsTheRowGoWhenTheBrokerHasConfirmed(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.Default.Confirm = waybill.Accepted
		w.runs(w.relay().Run)
		w.commit(waybill.Message{Destination: "orders"})
		w.emptied(5 * time.Second)
		m := w.peer().subscribe(broker.Subscription{Destination: "orders"}).next()
		if to, ok := m.Header("receiptTo"); ok {
			t.Errorf("it asks for receipts to %s, want none", to)
		}
	})
}

func TestSeveralConsumersOfATopicMustAllConfirm(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.Destinations = map[string]relay.Destination{"news": {Consumers: []string{"a", "b"}}}
		r := w.relay()
		w.runs(r.Run)
		p := w.peer()
		received := p.subscribe(broker.Subscription{Destination: "news", Topic: true, Group: "a"})
		id := waybill.NewID()
		w.commit(waybill.Message{ID: id, Destination: "news", Topic: true})
		received.next()
		from := func(consumer string) {
			p.receipt(fmt.Sprintf(`{"consumer":%q,"receipts":[{"id":%q,"outcome":"done"}]}`, consumer, id))
		}
		from("a")
		from("a")
		from("stranger")
		w.waits("they are read", 5*time.Second, func() bool { return r.Stats().Receipts == 3 })
		if n := w.left(); n != 1 {
			t.Fatalf("%d rows are left before b has confirmed, want 1", n)
		}
		from("b")
		w.emptied(5 * time.Second)
	})
}

func TestRowsThatCanNeverBeSentAreRejectedWithTheReason(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(&memory.Options{MaxMessage: 1000}))
		w.runs(w.relay().Run)
		w.runs(w.inbox().Run)
		insert := func(destination, key string, headers any, body []byte) {
			t.Helper()
			w.exec(w.producer, w.q(`INSERT INTO qmessage (destination, business_mark, headers, message_content) VALUES (?, ?, ?, ?)`), destination, key, headers, body)
		}
		insert("events", "", `no json`, []byte("x"))
		insert("events", "", `{"messageId":"reserved"}`, []byte("x"))
		insert("events", "", `{"a":7}`, []byte("x"))
		insert("has space", "", nil, []byte("x"))
		insert("events", "tab\tbed", nil, []byte("x"))
		insert("events", "", nil, make([]byte, 2000)) // larger than the broker takes
		const bad = 6
		insert("events", "", nil, []byte("sound"))
		w.waits("the sound one is done and the others are rejected", 10*time.Second, func() bool {
			return w.number(w.producer, `SELECT count(*) FROM qmessage WHERE status = 2 AND last_error <> ''`) == bad && w.left() == bad
		})
		w.wantEffects(1)
	})
}

// keyedEvent is the ith of many events with a few keys.
func keyedEvent(i int) waybill.Message {
	return waybill.Message{Destination: "events", Key: fmt.Sprint(i % 7)}
}

func TestASuccessorDoesNotSendEverythingAgain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.resendsNever()
		first := w.relay()
		stop := w.runs(first.Run)
		w.commitMany(500, keyedEvent)
		w.waits("all are sent", 10*time.Second, func() bool { return first.Stats().Published == 500 })
		stop()
		second := w.relay()
		w.runs(second.Run)
		w.commit(waybill.Message{Destination: "events"})
		w.waits("the new one is sent", 10*time.Second, func() bool { return second.Stats().Published > 0 })
		if s := second.Stats(); s.Published != 1 {
			t.Errorf("the successor sent %d messages, want the new one alone", s.Published)
		}
		w.runs(w.inbox().Run)
		w.emptied(20 * time.Second)
	})
}

func TestAMessageCostsOneInsertOneDeleteAndNoUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onPostgres, memory.New(nil))
	w.resendsNever()
	w.runs(w.relay().Run)
	w.runs(w.inbox().Run)
	const n = 1000
	w.commitMany(n, keyedEvent)
	w.emptied(20 * time.Second)
	writes := func(column, table string) int64 {
		return w.number(w.producer, `SELECT `+column+` FROM pg_stat_user_tables WHERE relname = $1`, table)
	}
	// Each connection tells its statistics when it has been idle for up to ten seconds.
	w.waits("the statistics are in", time.Minute, func() bool {
		return writes("n_tup_ins", "qmessage") >= n && writes("n_tup_del", "qmessage") >= n
	})
	if i, d, u := writes("n_tup_ins", "qmessage"), writes("n_tup_del", "qmessage"), writes("n_tup_upd", "qmessage"); i != n || d != n || u != 0 {
		t.Errorf("%d messages cost %d inserts, %d deletes, %d updates of qmessage; want %d, %d and none", n, i, d, u, n, n)
	}
}
