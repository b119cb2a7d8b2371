package journey

import (
	"context"
	"database/sql"
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

// peer is a consumer or producer that is no Waybill: it speaks to the broker alone.
type peer struct {
	t    testing.TB
	conn broker.Conn
}

func (w *world) peer() *peer {
	w.t.Helper()
	conn, err := w.broker.Connect(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close(context.Background()) })
	return &peer{w.t, conn}
}

func (p *peer) publish(m broker.Message) {
	p.t.Helper()
	results, err := p.conn.Publish(context.Background(), []broker.Message{m}, waybill.Durable)
	if err != nil || results[0].Fate != broker.Confirmed {
		p.t.Fatalf("publish: %v %v", results, err)
	}
}

// receipt sends a receipt message with this body.
func (p *peer) receipt(body string) {
	p.t.Helper()
	p.publish(broker.Message{Destination: "ack.waybill", Headers: []broker.Header{{Name: "waybill", Value: "receipt.v1"}}, Body: []byte(body)})
}

func (p *peer) says(id waybill.ID, outcome, more string) {
	p.t.Helper()
	p.receipt(fmt.Sprintf(`{"consumer":"peer","receipts":[{"id":%q,"outcome":%q%s}]}`, id, outcome, more))
}

// subscribe returns a function that waits for the next message and acknowledges it.
func (p *peer) subscribe(s broker.Subscription) (next func(limit time.Duration) (*broker.Message, bool)) {
	p.t.Helper()
	s.Prefetch = 1000
	receiver, err := p.conn.Subscribe(context.Background(), s)
	if err != nil {
		p.t.Fatal(err)
	}
	return func(limit time.Duration) (*broker.Message, bool) {
		p.t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		deliveries, err := receiver.Receive(ctx, 1)
		if err != nil {
			return nil, false
		}
		if err := receiver.Settle(context.Background(), deliveries, broker.Ack); err != nil {
			p.t.Fatal(err)
		}
		return &deliveries[0].Message, true
	}
}

func header(t testing.TB, m *broker.Message, name string) string {
	t.Helper()
	value, ok := m.Header(name)
	if !ok {
		t.Errorf("no header %s in %v", name, m.Headers)
	}
	return value
}

func (w *world) mustSend(m waybill.Message) {
	w.t.Helper()
	if err := w.out.InTx(context.Background(), w.producer, func(tx *sql.Tx) error { return w.out.Send(context.Background(), tx, m) }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) left() int64 { return w.number(w.producer, `SELECT count(*) FROM qmessage`) }

func TestAMessageTravelsWithTheHeadersOfTheProtocol(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.runs(w.relay().Run)
		next := w.peer().subscribe(broker.Subscription{Destination: "orders"})
		id := waybill.NewID()
		w.mustSend(waybill.Message{ID: id, Destination: "orders", Key: "order 7", TimeStamp: 42, Body: []byte{0, 255}, Headers: map[string]string{"content-type": "application/x-odd", "traceparent": "00-1-2-3"}})
		m, ok := next(5 * time.Second)
		if !ok {
			t.Fatal("nothing arrived")
		}
		for name, want := range map[string]string{
			"messageId": id.String(), "businessMark": "order 7", "timeStamp": "42", "sequence": "1", "producer": "waybill",
			"receiptTo": "ack.waybill", "attempt": "0", "traceparent": "00-1-2-3",
		} {
			if got := header(t, m, name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if m.ContentType != "application/x-odd" || string(m.Body) != "\x00\xff" {
			t.Errorf("content type %q, body %q", m.ContentType, m.Body)
		}
		// Its receipt never comes: it is sent again, and says so.
		m, ok = next(5 * time.Second)
		if !ok {
			t.Fatal("no copy arrived")
		}
		if got := header(t, m, "attempt"); got != "1" {
			t.Errorf("attempt = %q, want 1", got)
		}
		for range 3 { // the floor is not asked for each time
			if header(t, m, "floor") == id.String() {
				break
			}
			if m, ok = next(5 * time.Second); !ok {
				t.Fatal("no copy arrived")
			}
		}
		if floor := header(t, m, "floor"); floor != id.String() {
			t.Errorf("floor = %q, want %s", floor, id)
		}
	})
}

func TestTheFirstMessageIntoAnEmptyTableTellsAFloor(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		r := w.relay()
		w.runs(r.Run)
		next := w.peer().subscribe(broker.Subscription{Destination: "orders"})
		w.waits("the relay reads", 10*time.Second, func() bool { return r.Stats().Connected })
		for range 3 {
			id := waybill.NewID()
			w.mustSend(waybill.Message{ID: id, Destination: "orders"})
			m, ok := next(5 * time.Second)
			if !ok {
				t.Fatal("nothing arrived")
			}
			if floor, err := waybill.ParseID(header(t, m, "floor")); err != nil || !floor.IsV7() || floor.Compare(id) > 0 {
				t.Errorf("floor %v of message %v: %v", floor, id, err)
			}
		}
	})
}

func TestARowThatIsDelayedForLongIsNoFloor(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.mustSend(waybill.Message{Destination: "orders", NotBefore: time.Now().Add(60 * 24 * time.Hour)})
		w.runs(w.relay().Run)
		next := w.peer().subscribe(broker.Subscription{Destination: "orders"})
		for range 3 {
			id := waybill.NewID()
			w.mustSend(waybill.Message{ID: id, Destination: "orders"})
			m, ok := next(5 * time.Second)
			if !ok {
				t.Fatal("nothing arrived")
			}
			if floor, err := waybill.ParseID(header(t, m, "floor")); err != nil || floor.Compare(id) > 0 {
				t.Errorf("floor %v of message %v: %v", floor, id, err)
			}
		}
	})
}

func TestAReceiptThatMakesNoSenseIsDroppedAndTheOthersCount(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		r := w.relay()
		w.runs(r.Run)
		p := w.peer()
		next := p.subscribe(broker.Subscription{Destination: "orders"})
		id := waybill.NewID()
		w.mustSend(waybill.Message{ID: id, Destination: "orders"})
		if _, ok := next(5 * time.Second); !ok {
			t.Fatal("nothing arrived")
		}
		bad := []string{
			``, `{`, `[]`, `null`, `"done"`, `{"receipts":"done"}`, `{"receipts":[7]}`,
			`{"consumer":"x","receipts":[{"id":"no uuid","outcome":"done"}]}`,
			fmt.Sprintf(`{"consumer":"x","receipts":[{"id":%q,"outcome":"perhaps"}]}`, id),
		}
		for _, body := range bad {
			p.receipt(body)
		}
		p.publish(broker.Message{Destination: "ack.waybill", Body: []byte("no header")})
		p.says(waybill.NewID(), "done", "") // forged: an id that this outbox never had
		p.says(waybill.NewID(), "retry", `,"after_ms":-5`)
		p.says(waybill.NewID(), "rejected", "")
		w.waits("all are read", 5*time.Second, func() bool { return r.Stats().Malformed >= int64(len(bad))-2 && r.Stats().Receipts >= 3 })
		if w.left() != 1 {
			t.Fatal("a receipt that makes no sense has removed a row")
		}
		p.receipt(fmt.Sprintf(`{"consumer":"x","receipts":[{"id":"odd","outcome":"done"},{"id":%q,"outcome":"done"}]}`, id))
		w.emptied(5 * time.Second)
		p.says(id, "done", "") // repeated
		p.says(id, "rejected", "")
		w.waits("repeated receipts are read", 5*time.Second, func() bool { return r.Stats().Receipts >= 6 })
	})
}

func TestARejectedMessageStaysForAPersonAndCanBeSentAgain(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.runs(w.relay().Run)
		p := w.peer()
		next := p.subscribe(broker.Subscription{Destination: "orders"})
		id := waybill.NewID()
		w.mustSend(waybill.Message{ID: id, Destination: "orders", Key: "k", Body: []byte("b")})
		if _, ok := next(5 * time.Second); !ok {
			t.Fatal("nothing arrived")
		}
		p.says(id, "rejected", `,"error":"no such order"`)
		w.waits("it is rejected", 5*time.Second, func() bool { return w.number(w.producer, `SELECT status FROM qmessage`) == 2 })
		if m, ok := next(1200 * time.Millisecond); ok {
			t.Errorf("a rejected message was sent again: %v", m.Headers)
		}
		queue, err := store.NewQueue(w.producer, d.dialect, "")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := queue.List(context.Background(), "", store.Rejected, 0, 10)
		if err != nil || len(rows) != 1 || rows[0].LastError != "peer: no such order" {
			t.Fatalf("%+v %v", rows, err)
		}
		again, ok, err := queue.Resend(context.Background(), id, false)
		if err != nil || !ok || again != id {
			t.Fatal(again, ok, err)
		}
		m, ok := next(5 * time.Second)
		if !ok || header(t, m, "messageId") != id.String() || string(m.Body) != "b" {
			t.Fatalf("sent again: %v %v", ok, m)
		}
		p.says(id, "done", "")
		w.emptied(5 * time.Second)
	})
}

func TestARetryReceiptBringsTheNextCopyAfterItsTime(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.MinRetry = time.Millisecond
		w.runs(w.relay().Run)
		p := w.peer()
		next := p.subscribe(broker.Subscription{Destination: "orders"})
		id := waybill.NewID()
		w.mustSend(waybill.Message{ID: id, Destination: "orders"})
		for failures := range 3 {
			m, ok := next(5 * time.Second)
			if !ok {
				t.Fatal("no copy")
			}
			if got, _ := m.Header("failures"); failures > 0 && got != fmt.Sprint(failures) {
				t.Errorf("failures = %q, want %d", got, failures)
			}
			if got := header(t, m, "attempt"); got != fmt.Sprint(failures) {
				t.Errorf("attempt = %q, want %d", got, failures)
			}
			p.says(id, "retry", `,"error":"not now"`)
		}
		if _, ok := next(5 * time.Second); !ok {
			t.Fatal("no copy")
		}
		asked := time.Now()
		p.says(id, "retry", `,"after_ms":700,"error":"in a while"`)
		m, ok := next(5 * time.Second)
		if !ok {
			t.Fatal("no copy")
		}
		if took := time.Since(asked); took < 700*time.Millisecond {
			t.Errorf("the copy came after %v", took)
		}
		if got := header(t, m, "failures"); got != "3" {
			t.Errorf("failures = %q: a delay that was asked for is no failure", got)
		}
		p.says(id, "done", "")
		w.emptied(5 * time.Second)
	})
}

func TestADelayedMessageWaitsForItsTimeAndHoldsNoFloor(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.runs(w.relay().Run)
		w.runs(w.inbox().Run)
		due := time.Now().Add(1500 * time.Millisecond)
		w.mustSend(waybill.Message{Destination: "events", Key: "later", NotBefore: due})
		w.mustSend(waybill.Message{Destination: "events", Key: "month", NotBefore: due.Add(30 * 24 * time.Hour)})
		w.mustSend(waybill.Message{Destination: "events", Key: "now"})
		w.waits("the undelayed one is done", 5*time.Second, func() bool { return w.number(w.consumer, `SELECT count(*) FROM done`) == 1 })
		if time.Now().After(due) {
			t.Skip("the machine is too slow to tell")
		}
		w.waits("the delayed one is done", 10*time.Second, func() bool { return w.number(w.consumer, `SELECT count(*) FROM done`) == 2 })
		if time.Now().Before(due) {
			t.Error("it came early")
		}
		w.waits("its row goes", 5*time.Second, func() bool { return w.left() == 1 })
		queue, err := store.NewQueue(w.producer, d.dialect, "")
		if err != nil {
			t.Fatal(err)
		}
		floor, err := queue.Floor(context.Background())
		if err != nil || floor.Time().Before(due.Add(29*24*time.Hour)) {
			t.Errorf("the floor stands at %v (%v)", floor.Time(), err)
		}
	})
}

func TestRowsThatCommitLateAreFound(t *testing.T) {
	d := databases[1] // SQLite has one writer, whose rows commit in order
	w := newWorld(t, d, memory.New(nil))
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
	if r.Stats().Copies > 0 {
		t.Errorf("%d copies", r.Stats().Copies)
	}
}

func TestADestinationWhoseConsumerIsDownHoldsUpNobody(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.Window = 50
		r := w.relay()
		w.runs(r.Run)
		w.runs(w.inbox().Run)
		for i := range 400 {
			w.mustSend(waybill.Message{Destination: "nobody", Body: fmt.Append(nil, i)})
			if i%4 == 0 {
				w.mustSend(waybill.Message{Destination: "events"})
			}
		}
		w.waits("the others are done", 20*time.Second, func() bool { return w.number(w.consumer, `SELECT count(*) FROM done`) == 100 })
		for _, d := range r.Stats().Destinations {
			if d.Destination == "nobody" && (d.Unconfirmed > 50 || !d.Backlog) {
				t.Errorf("%+v", d)
			}
		}
		// Its consumer comes: the backlog arrives, in order.
		p := w.peer()
		next := p.subscribe(broker.Subscription{Destination: "nobody"})
		seen := map[string]bool{}
		last := -1
		for len(seen) < 400 {
			m, ok := next(10 * time.Second)
			if !ok {
				t.Fatalf("%d of 400 arrived", len(seen))
			}
			i, err := strconv.Atoi(string(m.Body))
			if err != nil {
				t.Fatal(err)
			}
			if !seen[string(m.Body)] && i < last {
				t.Errorf("message %d first came after %d", i, last)
			}
			last = max(last, i)
			seen[string(m.Body)] = true
			id, _ := waybill.ParseID(header(t, m, "messageId"))
			p.says(id, "done", "")
		}
		w.emptied(10 * time.Second)
	})
}

func TestAcceptedLetsTheRowGoOnTheBrokersWord(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.Default.Confirm = waybill.Accepted
		w.runs(w.relay().Run)
		w.mustSend(waybill.Message{Destination: "orders"})
		w.emptied(5 * time.Second)
		m, ok := w.peer().subscribe(broker.Subscription{Destination: "orders"})(5 * time.Second)
		if !ok {
			t.Fatal("nothing arrived")
		}
		if to, ok := m.Header("receiptTo"); ok {
			t.Errorf("it asks for receipts to %s", to)
		}
	})
}

func TestSeveralConsumersOfATopicMustAllConfirm(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.Destinations = map[string]relay.Destination{"news": {Consumers: []string{"a", "b"}}}
		r := w.relay()
		w.runs(r.Run)
		p := w.peer()
		next := p.subscribe(broker.Subscription{Destination: "news", Topic: true, Group: "a"})
		id := waybill.NewID()
		w.mustSend(waybill.Message{ID: id, Destination: "news", Topic: true})
		if _, ok := next(5 * time.Second); !ok {
			t.Fatal("nothing arrived")
		}
		from := func(consumer string) {
			p.receipt(fmt.Sprintf(`{"consumer":%q,"receipts":[{"id":%q,"outcome":"done"}]}`, consumer, id))
		}
		from("a")
		from("a")
		from("stranger")
		w.waits("they are read", 5*time.Second, func() bool { return r.Stats().Receipts == 3 })
		if w.left() != 1 {
			t.Fatal("the row went before b confirmed")
		}
		from("b")
		w.emptied(5 * time.Second)
	})
}

func TestRowsThatCanNeverBeSentAreRejectedWithTheReason(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(&memory.Options{MaxMessage: 1000}))
		w.runs(w.relay().Run)
		w.runs(w.inbox().Run)
		insert := w.q(`INSERT INTO qmessage (destination, business_mark, headers, message_content) VALUES (?, ?, ?, ?)`)
		w.exec(w.producer, insert, "events", "", `no json`, []byte("x"))
		w.exec(w.producer, insert, "events", "", `{"messageId":"reserved"}`, []byte("x"))
		w.exec(w.producer, insert, "events", "", `{"a":7}`, []byte("x"))
		w.exec(w.producer, insert, "has space", "", nil, []byte("x"))
		w.exec(w.producer, insert, "events", "tab\tbed", nil, []byte("x"))
		w.exec(w.producer, insert, "events", "", nil, make([]byte, 2000)) // larger than the broker takes
		w.exec(w.producer, insert, "events", "", nil, []byte("sound"))
		w.waits("the sound one is done and the others are rejected", 10*time.Second, func() bool {
			return w.number(w.producer, `SELECT count(*) FROM qmessage WHERE status = 2 AND last_error <> ''`) == 6 && w.left() == 6
		})
		if n := w.number(w.consumer, `SELECT count(*) FROM done`); n != 1 {
			t.Errorf("%d took effect, want 1", n)
		}
	})
}

func TestASuccessorDoesNotSendEverythingAgain(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.FirstResend, w.relayOptions.MaxResend = 30*time.Second, time.Minute
		first := w.relay()
		stop := w.runs(first.Run)
		for range 5 {
			w.fillKeyed(100)
		}
		w.waits("all are sent", 10*time.Second, func() bool { return first.Stats().Published == 500 })
		stop()
		second := w.relay()
		w.runs(second.Run)
		w.mustSend(waybill.Message{Destination: "events"})
		w.waits("the new one is sent", 10*time.Second, func() bool { return second.Stats().Published > 0 })
		if s := second.Stats(); s.Published != 1 {
			t.Errorf("the successor sent %d messages, want the new one alone", s.Published)
		}
		w.runs(w.inbox().Run)
		w.emptied(20 * time.Second)
	})
}

// fillKeyed commits n messages to "events" in one transaction.
func (w *world) fillKeyed(n int) {
	w.t.Helper()
	batch := make([]waybill.Message, n)
	for i := range batch {
		batch[i] = waybill.Message{Destination: "events", Key: fmt.Sprint(i % 7)}
	}
	if err := w.out.InTx(context.Background(), w.producer, func(tx *sql.Tx) error { return w.out.Send(context.Background(), tx, batch...) }); err != nil {
		w.t.Fatal(err)
	}
}

func TestAMessageCostsOneInsertOneDeleteAndNoUpdate(t *testing.T) {
	w := newWorld(t, databases[1], memory.New(nil))
	w.relayOptions.FirstResend, w.relayOptions.MinResend, w.relayOptions.MaxResend = time.Minute, time.Minute, time.Minute
	w.runs(w.relay().Run)
	w.runs(w.inbox().Run)
	const n = 1000
	for range n / 100 {
		w.fillKeyed(100)
	}
	w.emptied(20 * time.Second)
	writes := func(column, table string) int64 {
		return w.number(w.producer, `SELECT `+column+` FROM pg_stat_user_tables WHERE relname = $1`, table)
	}
	// Statistics arrive when each connection has been idle for a moment.
	w.waits("the statistics are in", 15*time.Second, func() bool { return writes("n_tup_del", "qmessage") >= n })
	if i, d, u := writes("n_tup_ins", "qmessage"), writes("n_tup_del", "qmessage"), writes("n_tup_upd", "qmessage"); i != n || d != n || u != 0 {
		t.Errorf("%d messages cost %d inserts, %d deletes, %d updates of qmessage", n, i, d, u)
	}
}
