package repair_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/repair"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
)

// fixture is an outbox, and a desk for it.
type fixture struct {
	*testing.T
	db      *sql.DB
	dialect store.Dialect
	queue   *store.Queue
	out     *outbox.Outbox
	reader  *survey.Reader
	desk    *repair.Desk
	log     *lines
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	f := &fixture{T: t, db: db, dialect: dialect, log: &lines{}}
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		f.must(store.Migrate(t.Context(), db, dialect, "", side))
	}
	f.queue, err = store.NewQueue(db, dialect, "")
	f.must(err)
	f.reader, err = survey.NewReader(db, dialect, "")
	f.must(err)
	f.out, err = outbox.New(dialect, nil)
	f.must(err)
	f.desk = f.newDesk(time.Hour)
	return f
}

func (f *fixture) newDesk(settle time.Duration) *repair.Desk {
	d := repair.New(&repair.Options{Settle: settle, Look: time.Millisecond, Logger: slog.New(slog.NewTextHandler(f.log, nil))})
	f.Cleanup(d.Close)
	return d
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// rejected sends messages and rejects them.
func (f *fixture) rejected(n int, reason string) {
	f.Helper()
	messages := make([]waybill.Message, n)
	for i := range messages {
		messages[i].Destination = "orders"
	}
	var last int64
	f.must(f.db.QueryRow(`SELECT coalesce(max(id), 0) FROM qmessage`).Scan(&last))
	f.must(f.out.InTx(f.Context(), f.db, func(tx *sql.Tx) error { return f.out.Send(f.Context(), tx, messages...) }))
	f.each(func(r *store.Row) error {
		if r.ID <= last {
			return nil // an operation has sent it again meanwhile
		}
		_, err := f.queue.Reject(f.Context(), r.MessageID, reason)
		return err
	})
}

// each calls do for the pending rows.
func (f *fixture) each(do func(r *store.Row) error) {
	rows, err := f.queue.Glance(f.Context(), math.MinInt64, false, 100_000)
	if err != nil && f.Context().Err() == nil {
		f.Error(err)
	}
	for i := range rows {
		if rows[i].Status == store.Pending {
			if err := do(&rows[i]); err != nil && f.Context().Err() == nil {
				f.Error(err)
			}
		}
	}
}

// count is the number of rows of a status.
func (f *fixture) count(status int) (n int) {
	f.Helper()
	f.must(f.db.QueryRow(`SELECT count(*) FROM qmessage WHERE status = ?`, status).Scan(&n))
	return n
}

// consume has something become of all messages that are sent again, until the test ends.
func (f *fixture) consume(do func(r *store.Row) error) (stop func()) {
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				f.each(do)
			}
		}
	})
	var once sync.Once
	stop = func() {
		once.Do(func() { close(done) })
		group.Wait()
	}
	f.Cleanup(stop)
	return stop
}

func (f *fixture) confirm(r *store.Row) error {
	_, err := f.queue.Delete(f.Context(), []waybill.ID{r.MessageID})
	return err
}

func (f *fixture) start(d *repair.Desk, action repair.Action, s survey.Selection, who string) repair.Operation {
	f.Helper()
	op, err := d.Start(f.Context(), "shop", f.reader, action, s, who)
	f.must(err)
	return op
}

// until waits until an operation is in a state.
func (f *fixture) until(d *repair.Desk, id string, state repair.State) repair.Operation {
	f.Helper()
	var op repair.Operation
	patience.Until(f, fmt.Sprintf("the operation to be %s", state), func() bool {
		op, _ = d.Operation(id)
		return op.State == state
	}, func() any { return op })
	return op
}

func TestAGroupIsSentAgainInStagesAndNewRejectionsStay(t *testing.T) {
	f := newFixture(t)
	f.rejected(500, "shipping: no order 1")
	f.rejected(3, "shipping: another reason")
	groups, err := f.reader.Groups(t.Context(), &survey.Selection{}, 0)
	f.must(err)
	added := 0
	stages := map[int]bool{}
	var mu sync.Mutex
	op := f.start(f.desk, repair.Resend, survey.Selection{Group: groups.Groups[0].ID}, "ann")
	f.rejected(7, "shipping: no order 2") // of the same group, and later
	f.consume(func(r *store.Row) error {
		mu.Lock()
		defer mu.Unlock()
		if now, _ := f.desk.Operation(op.ID); now.Stage > 0 {
			stages[now.Stage] = true
		}
		added++
		return f.confirm(r)
	})
	op = f.until(f.desk, op.ID, repair.Done)
	if op.Total != 500 || op.Done+op.Skipped != 500 || op.Confirmed+op.FailAgain != op.Done {
		t.Errorf("got %+v, want all 500 dealt with", op)
	}
	if left := f.count(store.Rejected); left < 10 {
		t.Errorf("got %d rejected ones left, want the 3 of another group and the 7 that came later", left)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, stage := range []int{10, 100} {
		if !stages[stage] {
			t.Errorf("got the stages %v, want %d among them", stages, stage)
		}
	}
}

func TestWhatFailsAgainPausesUntilAPersonGoesOn(t *testing.T) {
	f := newFixture(t)
	f.rejected(30, "shipping: no")
	f.consume(func(r *store.Row) error {
		_, err := f.queue.Reject(f.Context(), r.MessageID, "shipping: still no")
		return err
	})
	op := f.start(f.desk, repair.Resend, survey.Selection{}, "ann")
	op = f.until(f.desk, op.ID, repair.Paused)
	if op.Done != 1 || op.FailAgain != 1 || !strings.Contains(op.Note.String(), "1 of these 1 have failed again: shipping: still no") {
		t.Errorf("got %+v, %q; want a pause after the first", op, op.Note)
	}
	if !f.desk.Continue(t.Context(), op.ID, "bob") {
		t.Error("Continue: got false, want it to go on")
	}
	patience.Until(t, "the second pause", func() bool {
		op, _ = f.desk.Operation(op.ID)
		return op.State == repair.Paused && op.Done == 11
	})
	if !f.desk.Stop(t.Context(), op.ID, "bob") {
		t.Error("Stop: got false, want it to stop")
	}
	op = f.until(f.desk, op.ID, repair.Stopped)
	if op.Done != 11 || f.desk.Continue(t.Context(), op.ID, "bob") || f.desk.Stop(t.Context(), op.ID, "bob") {
		t.Errorf("got %+v, want 11 done, and the end", op)
	}
	log := f.log.String()
	for _, want := range []string{`msg="audit: rejected messages are changed"`, "who=ann", "action=resend", "database=shop", "selection=all", "messages=30", "audit: an operation goes on", "who=bob", "state=stopped done=11"} {
		if !strings.Contains(log, want) {
			t.Errorf("got the log\n%swant %q in it", log, want)
		}
	}
}

func TestWhatNobodyConfirmsPauses(t *testing.T) {
	f := newFixture(t)
	f.rejected(2, "shipping: no")
	d := f.newDesk(20 * time.Millisecond)
	op := f.start(d, repair.Resend, survey.Selection{}, "ann")
	op = f.until(d, op.ID, repair.Paused)
	if op.Done != 1 || !strings.Contains(op.Note.String(), "1 of these 1 are not confirmed yet") {
		t.Errorf("got %+v, %q; want a pause", op, op.Note)
	}
	f.must(f.confirmAll())
	d.Close()
	if op, _ = d.Operation(op.ID); op.State != repair.Stopped {
		t.Errorf("closed: got %+v, want it stopped", op)
	}
	if _, err := d.Start(t.Context(), "shop", f.reader, repair.Resend, survey.Selection{}, "ann"); !errors.Is(err, repair.ErrClosed) {
		t.Errorf("closed: got the error %v, want ErrClosed", err)
	}
}

func (f *fixture) confirmAll() error {
	_, err := f.db.Exec(`DELETE FROM qmessage WHERE status = 0`)
	return err
}

func TestOfTwoWhoPressAtOnceEachMessageIsSentOnce(t *testing.T) {
	f := newFixture(t)
	const n = 300
	f.rejected(n, "shipping: no")
	sent := map[waybill.ID]int{}
	var mu sync.Mutex
	// What is sent again is rejected again, so that whoever looks only at the status would
	// send it twice.
	f.consume(func(r *store.Row) error {
		mu.Lock()
		sent[r.MessageID]++
		mu.Unlock()
		_, err := f.queue.Reject(f.Context(), r.MessageID, "shipping: still no")
		return err
	})
	other := f.newDesk(time.Hour) // of another process
	// Both have chosen their messages before either changes one, since what has been rejected
	// again by then is rightly chosen again.
	hold, err := f.db.Conn(t.Context())
	f.must(err)
	defer hold.Close()
	_, err = hold.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
	f.must(err)
	first, second := f.start(f.desk, repair.Resend, survey.Selection{}, "ann"), f.start(other, repair.Resend, survey.Selection{}, "bob")
	_, err = hold.ExecContext(t.Context(), `ROLLBACK`)
	f.must(err)
	end := func(d *repair.Desk, id string) (op repair.Operation) {
		patience.Until(t, "the operation to end", func() bool {
			d.Continue(t.Context(), id, "")
			op, _ = d.Operation(id)
			return op.State == repair.Done
		}, func() any { return op })
		return op
	}
	a, b := end(f.desk, first.ID), end(other, second.ID)
	if a.Done+b.Done != n || a.Done+a.Skipped != n || b.Done+b.Skipped != n {
		t.Errorf("got %+v and %+v, want each message done by one and skipped by the other", a, b)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(sent) != n {
		t.Errorf("got %d messages sent again, want %d", len(sent), n)
	}
	for id, times := range sent {
		if times != 1 {
			t.Errorf("message %s: got it sent again %d times, want once", id, times)
		}
	}
}

func TestMessagesAreDiscarded(t *testing.T) {
	f := newFixture(t)
	f.rejected(20, "shipping: no")
	f.rejected(5, "shipping: other")
	op := f.start(f.desk, repair.Discard, survey.Selection{Text: "other"}, "ann")
	op = f.until(f.desk, op.ID, repair.Done)
	if op.Done != 5 || f.count(store.Rejected) != 20 {
		t.Errorf("got %+v and %d left, want 5 gone", op, f.count(store.Rejected))
	}
	if _, err := f.desk.Start(t.Context(), "shop", f.reader, repair.Discard, survey.Selection{Text: "other"}, "ann"); !errors.Is(err, repair.ErrNothing) {
		t.Errorf("once more: got the error %v, want ErrNothing", err)
	}
	if _, err := f.desk.Start(t.Context(), "shop", f.reader, "burn", survey.Selection{}, "ann"); err == nil {
		t.Error("burn: got no error, want one")
	}
}

func TestWhatItsConsumerHasForgottenIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	f.rejected(2, "shipping: "+waybill.ReasonForgotten)
	op := f.start(f.desk, repair.Resend, survey.Selection{}, "ann")
	op = f.until(f.desk, op.ID, repair.Done)
	if op.Forgotten != 2 || op.Done != 0 || f.count(store.Rejected) != 2 {
		t.Errorf("got %+v, want both left alone", op)
	}
}

func TestMessagesThatAConsumerKeepsAreHandledAgain(t *testing.T) {
	f := newFixture(t)
	ledger, err := store.NewLedger(f.db, f.dialect, "", "shipping")
	f.must(err)
	k := store.Kept{MessageID: waybill.NewID(), Destination: "foreign", Delivery: "1", Headers: `{}`, Status: store.Rejected, Reason: "no"}
	f.must(ledger.Keep(t.Context(), []store.Kept{k}, make([]time.Duration, 1)))
	op := f.start(f.desk, repair.Resend, survey.Selection{Side: store.Consumer}, "ann")
	patience.Until(t, "it to be handled", func() bool {
		due, err := ledger.DueKept(t.Context(), 0, 10)
		f.must(err)
		for _, d := range due {
			f.must(handle(t.Context(), ledger, d.ID))
		}
		return len(due) > 0
	})
	if op = f.until(f.desk, op.ID, repair.Done); op.Done != 1 || op.Confirmed != 1 {
		t.Errorf("got %+v, want it handled", op)
	}
}

// handle takes a kept message, as an inbox does that has handled it.
func handle(ctx context.Context, l *store.Ledger, id int64) error {
	tx, err := l.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := l.TakeKept(ctx, tx, id); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func TestOnlySoManyOrdersAreUnderWay(t *testing.T) {
	f := newFixture(t)
	f.rejected(12, "no")
	rows, err := f.queue.List(t.Context(), "orders", store.Rejected, 0, 12)
	f.must(err)
	start := func(who string) (repair.Operation, error) { // it sends one again, and waits for what becomes of it
		id := rows[0].MessageID
		rows = rows[1:]
		return f.desk.Start(f.Context(), "shop", f.reader, repair.Resend, survey.Selection{MessageIDs: []waybill.ID{id}}, who)
	}
	var of []repair.Operation
	for _, who := range []string{"ann", "bob"} {
		for range repair.MostOfOne {
			op, err := start(who)
			f.must(err)
			of = append(of, op)
		}
		if _, err := start(who); !errors.Is(err, repair.ErrTooManyOfOne) || !strings.Contains(err.Error(), fmt.Sprint("(", repair.MostOfOne, ")")) {
			t.Errorf("%s: got the error %v, want ErrTooManyOfOne", who, err)
		}
	}
	if _, err := start("eve"); !errors.Is(err, repair.ErrTooMany) || !strings.Contains(err.Error(), fmt.Sprint("(", repair.MostUnderWay, ")")) {
		t.Errorf("beyond all: got the error %v, want ErrTooMany", err)
	}
	if !f.desk.Stop(f.Context(), of[0].ID, "ann") {
		t.Error("the first order is not under way")
	}
	f.until(f.desk, of[0].ID, repair.Stopped)
	if _, err := start("eve"); err != nil {
		t.Errorf("got the error %v, want the order begun", err)
	}
}

func TestOrdersThatMeanNothingTakeNoRoom(t *testing.T) {
	f := newFixture(t)
	for range 2 * repair.MostUnderWay {
		if _, err := f.desk.Start(f.Context(), "shop", f.reader, repair.Discard, survey.Selection{}, "ann"); !errors.Is(err, repair.ErrNothing) {
			t.Fatalf("got the error %v, want ErrNothing", err)
		}
	}
}

func TestNobodyDrivesOutWhatOthersHaveOrdered(t *testing.T) {
	f := newFixture(t)
	discard := func(who string) {
		f.rejected(1, "no")
		op := f.start(f.desk, repair.Discard, survey.Selection{}, who)
		f.until(f.desk, op.ID, repair.Done)
	}
	discard("ann")
	for range 60 {
		discard("bob")
	}
	all := f.desk.Operations()
	if n := len(all); n != 50 || all[n-1].Who != "ann" || all[0].Who != "bob" {
		t.Errorf("got %d orders, the oldest by %s, want 50 with that of ann", n, all[n-1].Who)
	}
}

func TestWhatTheDatabaseSaysIsForTheLogAlone(t *testing.T) {
	f := newFixture(t)
	f.rejected(1, "shipping: no")
	_, err := f.db.Exec(`CREATE TRIGGER keep BEFORE DELETE ON qmessage BEGIN SELECT RAISE(ABORT, 'user app at db.internal'); END`)
	f.must(err)
	op := f.start(f.desk, repair.Discard, survey.Selection{}, "ann")
	if op = f.until(f.desk, op.ID, repair.Failed); strings.Contains(op.Note.String(), "db.internal") {
		t.Errorf("got the note %q, want it without what the database says", op.Note)
	}
	if !strings.Contains(f.log.String(), "db.internal") {
		t.Errorf("got a log without what the database says:\n%s", f.log)
	}
}
