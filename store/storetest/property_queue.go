package storetest

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// queue is the state of one sequence: what qmessage and qmessage_key should hold.
type queue struct {
	*suite
	rows []store.Row // in order of id
	keys map[destinationKey]store.Row
	// forgotten is what is kept of the keys that were forgotten, by destination.
	forgotten map[destinationKey]store.Row
	sent      int
	said      said // see property_confirmed.go
}

// queueProperty: senders write messages in transactions that commit or roll back,
// receipts come in, and a relay reads.
func queueProperty(t *rapid.T, s *suite) {
	for _, table := range []string{s.names.Message, s.names.MessageKey, s.names.Confirmed} {
		must(t, s.exec(s.db, `DELETE FROM `+table))
	}
	fresh := *s // with a Queue that has not learnt how large rows are
	var err error
	fresh.queue, err = store.NewQueue(s.engine, s.dialect, "")
	must(t, err)
	q := &queue{suite: &fresh, keys: map[destinationKey]store.Row{}, forgotten: map[destinationKey]store.Row{}, said: said{}}
	t.Repeat(map[string]func(*rapid.T){
		"":                 q.compare,
		"send":             q.send,
		"send an id again": q.sendTwice,
		"delete":           q.delete,
		"reject":           q.reject,
		"postpone":         q.postpone,
		"resend":           q.resend,
		"discard":          q.discard,
		"answer":           q.answer,
		"delete answered":  q.deleteAnswered,
		"compare answers":  q.compareAnswers,
		"count copies":     q.countCopies,
		"read":             q.read,
		"forget keys":      q.forgetKeys,
	})
}

var (
	// Most messages have one key of one destination.
	destinations = oneOf("orders", "orders", "orders", "Orders", "mails ")
	keys         = oneOf("k", "k", "k", "", "K", "k ", `k"\'`)
	// longAgo is a time stamp of keys that are idle.
	longAgo = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	// farFuture is a not_before that no test lives to see.
	farFuture = time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
)

// newRow draws a message. The caller's own versions end where one more and a clock's
// time stamp after it still fit.
func (q *queue) newRow(t *rapid.T) store.NewRow {
	q.sent++
	return store.NewRow{
		ID:          idOf(minutes.Draw(t, "minute"), q.sent),
		Destination: destinations.Draw(t, "destination"),
		Topic:       rapid.Bool().Draw(t, "topic"),
		Key:         keys.Draw(t, "key"),
		TimeStamp:   rapid.SampledFrom([]int64{0, 0, 1, 2, longAgo, longAgo, longAgo + 1, 1 << 53, 1 << 62}).Draw(t, "own version"),
		Headers:     oneOf("", `{"a":"\"{}ü"}`).Draw(t, "headers"),
		Body:        rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "body"),
		NotBefore:   rapid.SampledFrom([]int64{0, 0, 1, 2, farFuture}).Draw(t, "not before"),
	}
}

// send writes messages by some calls of Insert in one transaction.
func (q *queue) send(t *rapid.T) {
	before := q.clockOf(t)
	calls := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(q.newRow), 1, 4), 1, 2).Draw(t, "calls")
	commits := rapid.Float64().Draw(t, "ends") < 0.8
	err := q.inTx(func(tx *sql.Tx) error {
		for _, rows := range calls {
			if err := q.insert(tx, rows...); err != nil {
				return err
			}
		}
		if !commits {
			return errUndo
		}
		return nil
	})
	if errors.Is(err, errUndo) {
		return
	}
	must(t, err)
	var last int64
	if len(q.rows) > 0 {
		last = q.rows[len(q.rows)-1].ID
	}
	written, err := q.queue.Scan(t.Context(), last, 1000, 0)
	must(t, err)
	given := slices.Concat(calls...)
	if len(written) != len(given) {
		t.Fatalf("got %d rows after id %d, want %d", len(written), last, len(given))
	}
	after := q.clockOf(t)
	for _, n := range given {
		i := slices.IndexFunc(written, func(r store.Row) bool { return r.MessageID == n.ID })
		if i < 0 {
			t.Fatalf("message %s is missing in %v", n.ID, written)
		}
		q.checkSent(t, n, written[i], before, after)
	}
	q.rows = append(q.rows, written...)
}

// checkSent checks what the database has made of a message, which comes after all
// others of its key.
func (q *queue) checkSent(t *rapid.T, n store.NewRow, got store.Row, before, after int64) {
	at := destinationKey{n.Destination, n.Topic, n.Key}
	key, known := q.keys[at]
	if !known {
		key = q.forgotten[destinationKey{destination: n.Destination, topic: n.Topic}]
	}
	want := store.Row{
		ID: got.ID, MessageID: n.ID, Destination: n.Destination, Topic: n.Topic, Key: n.Key, TimeStamp: n.TimeStamp,
		Headers: n.Headers, Body: n.Body, NotBefore: n.NotBefore,
	}
	if n.Key != "" {
		want.Sequence = key.Sequence + 1
	}
	if n.TimeStamp == 0 {
		// max(clock, last + 1), where the messages of one statement share the clock.
		want.TimeStamp = got.TimeStamp
		least := before
		if n.Key != "" {
			least = max(before, key.TimeStamp+1)
		}
		if most := max(after, key.TimeStamp) + 10; got.TimeStamp < least || got.TimeStamp > most {
			t.Fatalf("got the time stamp %d of %+v, want one from %d to %d", got.TimeStamp, n, least, most)
		}
	}
	wantRow(t, got, want)
	if n.Key != "" {
		if got.ID <= key.ID {
			t.Fatalf("got row %d of %+v, want it behind row %d of its key", got.ID, n, key.ID)
		}
		q.keys[at] = store.Row{ID: got.ID, Sequence: got.Sequence, TimeStamp: max(key.TimeStamp, got.TimeStamp)}
	}
}

// forgetKeys forgets the keys that were last used long ago and have no rows of that time.
func (q *queue) forgetKeys(t *rapid.T) {
	before := q.clockOf(t) - idleKey.Microseconds()
	isIdle := func(stamp int64) bool { return stamp >= store.FirstTime && stamp < before }
	busy := map[destinationKey]bool{}
	for _, r := range q.rows {
		if r.TimeStamp < before {
			busy[destinationKey{r.Destination, r.Topic, r.Key}] = true
		}
	}
	var want int64
	for at, key := range q.keys {
		if !isIdle(key.TimeStamp) {
			continue
		}
		destination := destinationKey{destination: at.destination, topic: at.topic}
		kept := q.forgotten[destination]
		q.forgotten[destination] = store.Row{Sequence: max(kept.Sequence, key.Sequence), TimeStamp: max(kept.TimeStamp, key.TimeStamp)}
		if !busy[at] {
			delete(q.keys, at)
			want++
		}
	}
	got, err := q.queue.ForgetKeys(t.Context(), idleKey, rapid.IntRange(1, 3).Draw(t, "limit"))
	must(t, err)
	if got != want {
		t.Fatalf("got %d keys forgotten, want %d", got, want)
	}
}

// sendTwice sends an id that is there, which fails and leaves nothing.
func (q *queue) sendTwice(t *rapid.T) {
	there := q.draw(t)
	again, other := q.newRow(t), q.newRow(t)
	again.ID = there.MessageID
	if err := q.inTx(func(tx *sql.Tx) error { return q.insert(tx, other, again) }); err == nil {
		t.Fatalf("got no error of a second message %s, want one", again.ID)
	}
}

// draw draws one of the rows that there are.
func (q *queue) draw(t *rapid.T) *store.Row {
	if len(q.rows) == 0 {
		t.Skip("no rows")
	}
	return &q.rows[rapid.IntRange(0, len(q.rows)-1).Draw(t, "row")]
}

func (q *queue) delete(t *rapid.T) {
	ids := []waybill.ID{idOf(0, 1<<30), q.draw(t).MessageID, q.draw(t).MessageID}
	deleted, err := q.queue.Delete(t.Context(), ids)
	must(t, err)
	left := q.without(ids)
	if want := int64(len(q.rows) - len(left)); deleted != want {
		t.Fatalf("got %d rows deleted, want %d", deleted, want)
	}
	q.rows = left
}

// without is the expected rows but for those with these message ids.
func (q *queue) without(ids []waybill.ID) []store.Row {
	return slices.DeleteFunc(slices.Clone(q.rows), func(r store.Row) bool { return slices.Contains(ids, r.MessageID) })
}

func (q *queue) reject(t *rapid.T) {
	r := q.draw(t)
	reason := oneOf("", "no", "näh\x00").Draw(t, "reason")
	before := q.clockOf(t)
	found, err := q.queue.Reject(t.Context(), r.MessageID, reason)
	must(t, err)
	wantFound(t, found, r.Status == store.Pending)
	if found {
		q.expectDue(t, r, before, 0)
		r.Status, r.LastError = store.Rejected, stored(reason)
	}
}

// stored is a reason as the database keeps it.
func stored(reason string) string {
	if reason == "näh\x00" {
		return "näh\uFFFD"
	}
	return reason
}

func (q *queue) postpone(t *rapid.T) {
	r := q.draw(t)
	delay := rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "delay")
	failures := rapid.IntRange(0, 1).Draw(t, "failures")
	before := q.clockOf(t)
	found, err := q.queue.Postpone(t.Context(), r.MessageID, delay, failures, 0, "later")
	must(t, err)
	wantFound(t, found, r.Status == store.Pending)
	if found {
		q.expectDue(t, r, before, delay)
		r.Retry, r.Failures, r.LastError = r.Retry+1, r.Failures+failures, "later"
	}
}

// expectDue takes a row's not_before, which has to be the clock's time plus delay, for
// what is expected from now on.
func (q *queue) expectDue(t *rapid.T, r *store.Row, before int64, delay time.Duration) {
	after := q.clockOf(t)
	found, err := q.queue.Find(t.Context(), []waybill.ID{r.MessageID})
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("got %d rows of message %s, want 1", len(found), r.MessageID)
	}
	if at := found[0].NotBefore - delay.Microseconds(); at < before || at > after {
		t.Fatalf("got the not_before %d, want one from %d to %d and %v", found[0].NotBefore, before, after, delay)
	}
	r.NotBefore = found[0].NotBefore
}

func (q *queue) resend(t *rapid.T) {
	r := q.draw(t)
	before := q.clockOf(t)
	asNew := rapid.Bool().Draw(t, "as new")
	id, found, err := q.queue.Resend(t.Context(), r.MessageID, asNew)
	must(t, err)
	wantFound(t, found, r.Status == store.Rejected)
	if found && asNew == (id == r.MessageID) {
		t.Fatalf("as new %v: got the id %s of message %s", asNew, id, r.MessageID)
	}
	if found {
		q.askAgain(r.MessageID, id)
		r.MessageID, r.Status, r.Retry, r.Failures, r.LastError = id, store.Pending, r.Retry+1, 0, ""
		if asNew {
			r.Retry = 0
		}
		q.expectDue(t, r, before, 0)
	}
}

func (q *queue) discard(t *rapid.T) {
	r := q.draw(t)
	found, err := q.queue.Discard(t.Context(), r.MessageID)
	must(t, err)
	wantFound(t, found, r.Status == store.Rejected)
	if found {
		delete(q.said, r.MessageID)
		q.rows = q.without([]waybill.ID{r.MessageID})
	}
}

func (q *queue) countCopies(t *rapid.T) {
	a, b := q.draw(t), q.draw(t)
	must(t, q.queue.CountCopies(t.Context(), []int64{a.ID, b.ID, 1 << 40}))
	a.Retry++
	if a != b {
		b.Retry++
	}
}

// compare compares the whole table with what is expected.
func (q *queue) compare(t *rapid.T) {
	got, err := q.queue.Scan(t.Context(), 0, 10_000, 0)
	must(t, err)
	wantRows(t, got, q.rows)
}

func (q *queue) clockOf(t *rapid.T) int64 {
	now, err := q.queue.Clock(t.Context())
	must(t, err)
	return now
}

func wantFound(t *rapid.T, got, want bool) {
	t.Helper()
	if got != want {
		t.Fatalf("got found %v, want %v", got, want)
	}
}

func wantRows(t *rapid.T, got, want []store.Row) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d rows %v, want %d %v", len(got), field(got, rowID), len(want), field(want, rowID))
	}
	for i := range got {
		wantRow(t, got[i], want[i])
	}
}

func wantRow(t *rapid.T, got, want store.Row) {
	t.Helper()
	// A body is never nil, an empty one included.
	if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
		t.Fatalf("got the row\n%s, want\n%s", g, w)
	}
}
