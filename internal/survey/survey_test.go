package survey_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// fixture is a database with both sides' tables, and what reads it.
type fixture struct {
	*testing.T
	db      *sql.DB
	dialect store.Dialect
	queue   *store.Queue
	reader  *survey.Reader
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	f := &fixture{T: t, db: db, dialect: dialect}
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		f.must(store.Migrate(t.Context(), db, dialect, "", side))
	}
	f.queue, err = store.NewQueue(db, dialect, "")
	f.must(err)
	f.reader, err = survey.NewReader(db, dialect, "")
	f.must(err)
	t.Cleanup(f.reader.Close)
	return f
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) send(messages ...waybill.Message) {
	f.Helper()
	out, err := outbox.New(f.dialect, nil)
	f.must(err)
	f.must(out.InTx(f.Context(), f.db, func(tx *sql.Tx) error { return out.Send(f.Context(), tx, messages...) }))
}

// rows are all of the outbox, in the order in which they were sent.
func (f *fixture) rows() []store.Row {
	f.Helper()
	rows, err := f.queue.Glance(f.Context(), math.MinInt64, false, 100_000)
	f.must(err)
	return rows
}

func (f *fixture) reject(id waybill.ID, reason string) {
	f.Helper()
	if found, err := f.queue.Reject(f.Context(), id, reason); err != nil || !found {
		f.Fatalf("reject: got %v, %v, want it found", found, err)
	}
}

func (f *fixture) keep(consumer string, reasons ...string) {
	f.Helper()
	ledger, err := store.NewLedger(f.db, f.dialect, "", consumer)
	f.must(err)
	var all []store.Kept
	for i, reason := range reasons {
		all = append(all, store.Kept{
			MessageID: waybill.NewID(), Destination: "foreign", Delivery: fmt.Sprint(i), Headers: `{}`, Status: store.Rejected, Reason: reason,
		})
	}
	f.must(ledger.Keep(f.Context(), all, make([]time.Duration, len(all))))
}

func TestReasonsThatDifferInNumbersAndNamesAloneAreOne(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{"no order 4711", "no order 12"},
		{`order "a b" is unknown`, `order "" is unknown`},
		{"order 'x' is unknown", "order 'it is long' is unknown"},
		{"message 01890a5d-ac96-774b-bcce-b302099a8057 is late", "message FFFFFFFF-ac96-774b-bcce-b302099a8057 is late"},
		{"dial tcp 10.0.0.1:5432: refused", "dial tcp 10.0.17.2:80: refused"},
		{"at 2026-11-27 21:00:01", "at 2025-01-02 03:04:05"},
		{"hash 9f86d081884c7d65", "hash 60303ae22b998861"},
		{"two\n  lines", "two lines"},
	} {
		if survey.Fold(c.a) != survey.Fold(c.b) {
			t.Errorf("got %q and %q, want one", survey.Fold(c.a), survey.Fold(c.b))
		}
	}
	for _, c := range []struct{ a, b string }{
		{"no order 4711", "no customer 4711"},
		{"it's gone", "it's late"},
		{"added", "faded"},
	} {
		if survey.Fold(c.a) == survey.Fold(c.b) {
			t.Errorf("got %q for %q and %q, want two", survey.Fold(c.a), c.a, c.b)
		}
	}
	if got := survey.Fold(strings.Repeat("é", 5000)); len(got) > 600 {
		t.Errorf("got %d bytes of a long reason, want few", len(got))
	}
}

func TestRejectedMessagesAreGroupedByReason(t *testing.T) {
	f := newFixture(t)
	var some []waybill.Message
	for i := range 7 {
		some = append(some, waybill.Message{Destination: "orders", Key: fmt.Sprint("k", i)})
	}
	some = append(some, waybill.Message{Destination: "orders", Topic: true}, waybill.Message{Destination: "mails"}, waybill.Message{Destination: "orders"})
	for _, m := range some {
		f.send(m) // one by one, which keeps their order
	}
	rows := f.rows()
	for i := range 5 {
		f.reject(rows[i].MessageID, fmt.Sprintf("shipping: no order %d", 100+i))
	}
	f.reject(rows[5].MessageID, "billing: no order 1")
	f.reject(rows[7].MessageID, "shipping: no order 1")
	f.reject(rows[8].MessageID, "cannot be sent: too large")
	f.keep("archive", "cannot be read: 1", "cannot be read: 2")

	groups, err := f.reader.Groups(t.Context(), &survey.Selection{}, 0)
	f.must(err)
	type group struct {
		side, destination, consumer, reason string
		topic                               bool
		n                                   int
	}
	var got []group
	for _, g := range groups.Groups {
		got = append(got, group{string(g.Side), g.Destination, g.Consumer, g.Reason, g.Topic, g.Messages})
	}
	for _, want := range []group{
		{"producer", "orders", "shipping", "no order #", false, 5},
		{"producer", "orders", "billing", "no order #", false, 1},
		{"producer", "orders", "shipping", "no order #", true, 1},
		{"producer", "mails", "", "cannot be sent: too large", false, 1},
		{"consumer", "foreign", "archive", "cannot be read: #", false, 2},
	} {
		if !slices.Contains(got, want) {
			t.Errorf("got the groups %+v, want %+v among them", got, want)
		}
	}
	if len(got) != 5 || got[0].n != 5 || groups.Looked != 10 || groups.Stopped {
		t.Errorf("got %+v, want five groups of ten messages, the largest first", groups)
	}
	first := groups.Groups[0]
	if first.Example.MessageID != rows[4].MessageID || !first.First.Equal(rows[0].MessageID.Time()) || !first.Last.Equal(rows[4].MessageID.Time()) {
		t.Errorf("got %+v, want the newest as the example, and the times of the first and the last", first)
	}
	for _, c := range []struct {
		selection survey.Selection
		want      int
	}{
		{survey.Selection{Group: first.ID}, 5},
		{survey.Selection{Destination: "orders"}, 7},
		{survey.Selection{Consumer: "shipping"}, 6},
		{survey.Selection{Text: "NO ORDER 10"}, 5},
		{survey.Selection{Side: store.Consumer}, 2},
		{survey.Selection{MessageIDs: []waybill.ID{rows[0].MessageID, rows[5].MessageID, rows[6].MessageID}}, 2},
		{survey.Selection{Destination: "orders", Consumer: "archive"}, 0},
	} {
		groups, err := f.reader.Groups(t.Context(), &c.selection, 0)
		f.must(err)
		n := 0
		for _, g := range groups.Groups {
			n += g.Messages
		}
		if n != c.want {
			t.Errorf("%+v: got %d messages, want %d", c.selection, n, c.want)
		}
	}
}

func TestALookAtRejectedMessagesThatHasNoTimeSaysThatThereAreMore(t *testing.T) {
	for _, c := range []struct {
		rejected, looked int
		stopped          bool
	}{{500, 500, false}, {501, 500, true}, {1700, 500, true}} {
		t.Run(fmt.Sprint(c.rejected), func(t *testing.T) {
			f := newFixture(t)
			f.send(slices.Repeat([]waybill.Message{{Destination: "orders"}}, c.rejected)...)
			_, err := f.db.ExecContext(t.Context(), `UPDATE qmessage SET status = 2, last_error = 'shipping: no'`)
			f.must(err)
			hurried, err := f.reader.Groups(t.Context(), &survey.Selection{}, time.Nanosecond)
			f.must(err)
			if hurried.Looked != c.looked || hurried.Stopped != c.stopped {
				t.Errorf("got %d looked at and more %v, want %d and %v", hurried.Looked, hurried.Stopped, c.looked, c.stopped)
			}
			for _, within := range []time.Duration{0, time.Hour} {
				whole, err := f.reader.Groups(t.Context(), &survey.Selection{}, within)
				f.must(err)
				if whole.Looked != c.rejected || whole.Stopped {
					t.Errorf("with the time of %v: got %d looked at and more %v, want all", within, whole.Looked, whole.Stopped)
				}
			}
		})
	}
}

func TestNamedConsumersThatHaveRejectedAMessageAreTold(t *testing.T) {
	f := newFixture(t)
	f.send(waybill.Message{Destination: "prices", Topic: true})
	id := f.rows()[0].MessageID
	f.must(f.queue.SaveAnswers(t.Context(), []store.Answer{
		{MessageID: id, Consumer: "audit", Rejected: true, Reason: "too old"}, {MessageID: id, Consumer: "shop"},
	}))
	f.reject(id, "audit: too old")
	groups, err := f.reader.Groups(t.Context(), &survey.Selection{}, 0)
	f.must(err)
	if g := groups.Groups; len(g) != 1 || g[0].Consumer != "audit" || g[0].Reason != "too old" {
		t.Errorf("got %+v, want that audit has rejected it", g)
	}
	m, err := f.reader.Message(t.Context(), id)
	f.must(err)
	var texts []string
	for _, e := range m.Timeline {
		texts = append(texts, e.Text.String())
	}
	for _, want := range []string{"Sent: committed with its business change.", "audit has rejected it: too old", "shop has confirmed it.", "Rejected, and kept for a person: audit: too old"} {
		if !slices.Contains(texts, want) {
			t.Errorf("got the timeline %q, want %q in it", texts, want)
		}
	}
	if last := m.Timeline[len(m.Timeline)-1]; last.At == nil || m.RejectedAt == nil || !last.At.Equal(*m.RejectedAt) || m.NotBefore != nil {
		t.Errorf("got %+v last, and rejected at %v, want to be told when it was rejected", last, m.RejectedAt)
	}
}

func TestASearchIsBoundedAndGoesOn(t *testing.T) {
	f := newFixture(t)
	f.reader.SearchTime = time.Hour
	f.send(waybill.Message{Destination: "orders", Key: "needle"})
	f.send(slices.Repeat([]waybill.Message{{Destination: "orders"}}, 21_499)...)
	rows := f.rows()
	f.reject(rows[60].MessageID, "shipping: No Such order")

	found, err := f.reader.Search(t.Context(), survey.Filter{Key: "needle"})
	f.must(err)
	if len(found.Messages) != 0 || found.Looked != 20_000 || found.Next == "" || found.Stopped.IsZero() {
		t.Fatalf("from the newest: got %d of %d, next %q, %q; want to be stopped after 20,000", len(found.Messages), found.Looked, found.Next, found.Stopped)
	}
	found, err = f.reader.Search(t.Context(), survey.Filter{Key: "needle", From: found.Next})
	f.must(err)
	if len(found.Messages) != 1 || found.Looked != 1500 || found.Next != "" || !found.Stopped.IsZero() {
		t.Errorf("gone on: got %+v, want the one, and the end", found)
	}
	for _, c := range []struct {
		name   string
		filter survey.Filter
		first  waybill.ID
		n      int
	}{
		{"oldest first", survey.Filter{Oldest: true, Limit: 3}, rows[0].MessageID, 3},
		{"newest first", survey.Filter{Limit: 3}, rows[len(rows)-1].MessageID, 3},
		{"by id", survey.Filter{ID: rows[7].MessageID}, rows[7].MessageID, 1},
		{"rejected", survey.Filter{Status: "rejected"}, rows[60].MessageID, 1},
		{"rejected, by the error", survey.Filter{Status: "rejected", Text: "no such"}, rows[60].MessageID, 1},
		{"rejected, by another error", survey.Filter{Status: "rejected", Text: "nothing"}, waybill.ID{}, 0},
		{"by the error", survey.Filter{Oldest: true, Text: "NO SUCH", Limit: 1}, rows[60].MessageID, 1},
		{"none is that old", survey.Filter{Older: time.Hour}, waybill.ID{}, 0},
		{"most are that young", survey.Filter{Younger: time.Hour, Oldest: true}, rows[0].MessageID, 100},
		{"of another destination", survey.Filter{Destination: "mails"}, waybill.ID{}, 0},
	} {
		found, err := f.reader.Search(t.Context(), c.filter)
		f.must(err)
		if len(found.Messages) != c.n || c.n > 0 && found.Messages[0].MessageID != c.first {
			t.Errorf("%s: got %d messages, want %d that begin with %s", c.name, len(found.Messages), c.n, c.first)
		}
	}
	var bad *survey.BadPlaceError
	if _, err := f.reader.Search(t.Context(), survey.Filter{From: "x"}); !errors.As(err, &bad) {
		t.Errorf("from x: got the error %v, want a BadPlaceError", err)
	}
}

func TestAnOutboxIsCountedFromBothEnds(t *testing.T) {
	f := newFixture(t)
	f.send(waybill.Message{Destination: "first"})
	many := slices.Repeat([]waybill.Message{{Destination: "many"}}, 10_500)
	f.send(many...)
	f.send(waybill.Message{Destination: "between"}, waybill.Message{Destination: "between"})
	f.send(many...)
	f.send(waybill.Message{Destination: "last"}, waybill.Message{Destination: "later", NotBefore: time.Now().Add(time.Hour)})
	rows := f.rows()
	f.reject(rows[10_500].MessageID, "no") // between what is counted
	f.reject(rows[10_501].MessageID, "no") // and so is another message to that destination
	o, err := f.reader.Outbox(t.Context(), nil, time.Hour)
	f.must(err)
	by := map[string]survey.Destination{}
	for _, d := range o.Destinations {
		by[d.Destination] = d
	}
	if !o.Capped || !o.Pending.More || o.Pending.N != 10_000 || o.Pending.Text() != "10,000+" || o.Rejected != (survey.Count{N: 2}) {
		t.Errorf("got %+v pending and %+v rejected, want 10,000 or more, and 2", o.Pending, o.Rejected)
	}
	for name, want := range map[string]int64{"first": 1, "many": 9997, "last": 1, "later": 1} {
		if d := by[name]; d.Pending.N != want || d.State != survey.Trouble || d.Why.String() != "No relay leads this outbox, so nothing is sent." {
			t.Errorf("%s: got %+v, why %v; want %d in trouble without a relay", name, d.Pending, d.Why, want)
		}
	}
	if d := by["between"]; d.Pending != (survey.Count{More: true}) || d.Rejected.N != 1 || d.State != survey.Trouble || d.Why.String() != "No relay leads this outbox, so nothing is sent." {
		t.Errorf("between: got %+v, want that there may be more than what was rejected", d)
	}
	if by["many"].Rejected.N != 1 || by["later"].Delayed != 1 || by["later"].OldestAge > 0 {
		t.Errorf("got %+v and %+v, want one rejected, and one due later", by["many"], by["later"])
	}
	if first := o.Destinations[0].Destination; first != "first" {
		t.Errorf("got %s first, want what waits longest", first)
	}
	_, err = f.queue.AcquireLease(t.Context(), "relay", "relay-1", time.Hour)
	f.must(err)
	led, err := f.reader.Outbox(t.Context(), nil, time.Hour)
	f.must(err)
	i := slices.IndexFunc(led.Destinations, func(d survey.Destination) bool { return d.Destination == "between" })
	if d := led.Destinations[i]; d.State != survey.Waiting || !strings.HasPrefix(d.Why.String(), "What was rejected (1) waits for a person. Whether more waits was not counted") {
		t.Errorf("between, with a relay: got %s, %v, want that more may wait than was counted", d.State, d.Why)
	}
}

func TestADestinationSaysWhyItWaits(t *testing.T) {
	f := newFixture(t)
	if _, err := f.queue.AcquireLease(t.Context(), "relay", "relay-1", time.Hour); err != nil {
		t.Fatal(err)
	}
	f.send(waybill.Message{Destination: "orders"})
	live := func(d relay.DestinationStats) *relay.Stats {
		d.Destination = "orders"
		return &relay.Stats{Leading: true, Connected: true, Destinations: []relay.DestinationStats{d}}
	}
	for _, c := range []struct {
		name  string
		live  *relay.Stats
		state survey.State
		want  string
	}{
		{"just sent", nil, survey.Moving, ""},
		{"no broker", &relay.Stats{Leading: true}, survey.Trouble, "no connection to the broker"},
		{"refused", live(relay.DestinationStats{Unconfirmed: 1, LastError: "queue full"}), survey.Trouble, "The broker refuses messages: queue full"},
		{"silent", live(relay.DestinationStats{Unconfirmed: 1, Silent: true}), survey.Trouble, "No receipts come"},
		{"one lags", live(relay.DestinationStats{Lagging: []relay.ConsumerStats{{Consumer: "audit", Waiting: 3, Since: time.Unix(0, 0)}}}), survey.Waiting, "audit has not confirmed 3 messages"},
	} {
		o, err := f.reader.Outbox(t.Context(), c.live, time.Hour)
		f.must(err)
		d := o.Destinations[0]
		why := ""
		if d.Why != nil {
			why = d.Why.String()
		}
		if d.State != c.state || !strings.Contains(why, c.want) || c.want == "" && why != "" {
			t.Errorf("%s: got %s, %q; want %s, %q", c.name, d.State, why, c.state, c.want)
		}
	}
	f.must(f.queue.NoteStandby(t.Context(), "host-2/17/RANDOM", time.Hour))
	f.must(f.queue.NoteStandby(t.Context(), "relay-1", time.Hour)) // it has taken the lease since
	f.must(f.queue.NoteWait(t.Context(), store.Wait{Destination: "orders", Why: "The broker's disk is full."}, time.Hour))
	noted, err := f.reader.Outbox(t.Context(), nil, time.Hour)
	f.must(err)
	if text := noted.Relay.Text.String() + " " + noted.Relay.StandbyText().String(); text != "The relay on relay-1 leads: it sends what waits here. Others stand by to take its place: host-2 (process 17)." {
		t.Errorf("got %q, want who leads and who stands by", text)
	}
	if d := noted.Destinations[0]; d.State != survey.Trouble || d.Why.String() != "The broker's disk is full." {
		t.Errorf("noted by another process: got %+v, want what its relay has noted", d)
	}
	f.must(f.queue.EndWait(t.Context(), "orders", false))
	if _, err := f.queue.Postpone(t.Context(), f.rows()[0].MessageID, time.Hour, 1, 0, "no"); err != nil {
		t.Fatal(err)
	}
	o, err := f.reader.Outbox(t.Context(), nil, time.Hour)
	f.must(err)
	if d := o.Destinations[0]; d.State != survey.Trouble || !strings.Contains(d.Why.String(), "The consumer fails") {
		t.Errorf("failing: got %+v, want that the consumer fails", d)
	}
	f.reject(f.rows()[0].MessageID, "no")
	o, err = f.reader.Outbox(t.Context(), nil, time.Second)
	f.must(err)
	if d := o.Destinations[0]; d.State != survey.OnlyRejected || !strings.Contains(d.Why.String(), "Nothing waits but what was rejected (1): ") || !strings.Contains(d.Why.String(), "send the messages again or discard them") {
		t.Errorf("rejected: got %s, %v; want a state of its own, and what to do", d.State, d.Why)
	}
}

func TestWithoutTablesThereIsNothingToTell(t *testing.T) {
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r, err := survey.NewReader(db, dialect, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sides(t.Context()); !errors.Is(err, survey.ErrNoTables) {
		t.Errorf("got the error %v, want ErrNoTables", err)
	}
	if err := store.Migrate(t.Context(), db, dialect, "", store.Consumer); err != nil {
		t.Fatal(err)
	}
	if sides, err := r.Sides(t.Context()); err != nil || sides.Producer || !sides.Consumer {
		t.Errorf("got %+v, %v, want the consumer's side alone", sides, err)
	}
	if groups, err := r.Groups(t.Context(), &survey.Selection{}, 0); err != nil || len(groups.Groups) != 0 {
		t.Errorf("got %+v, %v, want no groups", groups, err)
	}
}

func TestWhatStandsForWhatChangesIsKnown(t *testing.T) {
	for text, want := range map[string]bool{
		"no order #": true, "no order <id>": true, "at <hex>": true, `no "…" here`: true, "": false, "it's $1 for 'one'": false, `"x" and`: false,
	} {
		if got := survey.MayBeFolded(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}
