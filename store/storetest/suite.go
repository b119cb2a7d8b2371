package storetest

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// consumer is the consumer's name where a case needs but one.
const consumer = "shipping"

// suite is one case's database and the tables in it.
type suite struct {
	*testing.T
	h       Harness
	db      *sql.DB
	engine  *sql.DB // what Queue, Ledger and migrations use
	dialect store.Dialect
	names   store.Names
	queue   *store.Queue
	ledger  *store.Ledger
}

func newSuite(t *testing.T, h Harness, migrated bool) *suite {
	t.Helper()
	s := &suite{T: t, h: h, db: h.Open(t), dialect: h.Dialect}
	s.engine = s.db
	if h.Engine != nil {
		s.engine = h.Engine(t, s.db)
	}
	if migrated {
		s.migrate("")
	}
	return s.with("")
}

// with is the same database seen through another prefix.
func (s *suite) with(prefix string) *suite {
	s.Helper()
	other := *s
	var err error
	other.names, err = store.NewNames(prefix)
	s.must(err)
	other.queue, err = store.NewQueue(s.engine, s.dialect, prefix)
	s.must(err)
	s.Cleanup(other.queue.CloseIdle)
	other.ledger, err = store.NewLedger(s.engine, s.dialect, prefix, consumer)
	s.must(err)
	s.Cleanup(other.ledger.CloseIdle)
	s.learn(other.ledger)
	return &other
}

// learn has a ledger find out what its sessions are like, as an inbox does when it starts.
func (s *suite) learn(l *store.Ledger) {
	if s.h.Engine != nil {
		_, _ = l.Check(s.Context(), waybill.Once) // it may have no tables
	}
}

// as is the same database seen by another consumer.
func (s *suite) as(consumer string) *suite {
	s.Helper()
	other := *s
	var err error
	other.ledger, err = store.NewLedger(s.engine, s.dialect, "", consumer)
	s.must(err)
	s.Cleanup(other.ledger.CloseIdle)
	s.learn(other.ledger)
	return &other
}

// sub runs f as a subtest: one row of a table.
func (s *suite) sub(name string, f func(s *suite)) {
	s.Run(name, func(t *testing.T) {
		t.Helper()
		inner := *s
		inner.T = t
		f(&inner)
	})
}

func (s *suite) migrate(prefix string) {
	s.Helper()
	s.must(store.Migrate(s.Context(), s.engine, s.dialect, prefix, store.Producer))
	s.must(store.Migrate(s.Context(), s.engine, s.dialect, prefix, store.Consumer))
}

// needsWriters skips a case where one transaction writes at a time.
func (s *suite) needsWriters(why string) {
	s.Helper()
	if s.dialect.Capabilities().SingleWriter {
		s.Skip("Capabilities.SingleWriter: " + why)
	}
}

// workers is how many goroutines race in a case.
func (s *suite) workers() int {
	if s.dialect.Capabilities().SingleWriter {
		return 4
	}
	return 8
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// exec runs a statement of the test's own, with "?" for placeholders.
func (s *suite) exec(db store.Execer, text string, args ...any) error {
	_, err := db.ExecContext(s.Context(), s.bind(s.names.SQL(text)), args...)
	return err
}

func (s *suite) bind(text string) string {
	if s.h.Placeholder == nil {
		return text
	}
	parts := strings.Split(text, "?")
	var b strings.Builder
	b.WriteString(parts[0])
	for i, part := range parts[1:] {
		b.WriteString(s.h.Placeholder(i + 1))
		b.WriteString(part)
	}
	return b.String()
}

// inTx runs f in a transaction and commits it.
func inTx(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *suite) inTx(f func(tx *sql.Tx) error) error { return inTx(s.Context(), s.db, f) }

// inTxRetried is inTx, run again after a conflict: senders that wait for the first
// message of a key and see it rolled back may be told of a deadlock (InnoDB does).
func (s *suite) inTxRetried(f func(tx *sql.Tx) error) error {
	for {
		if err := s.inTx(f); s.queue.Condition(err) != store.Conflict {
			return err
		}
	}
}

// errUndo makes a transaction roll back.
var errUndo = errors.New("undo")

func (s *suite) insert(tx store.Tx, rows ...store.NewRow) error {
	return store.Insert(s.Context(), tx, s.dialect, s.names, rows)
}

// send writes rows in a transaction of their own.
func (s *suite) send(rows ...store.NewRow) {
	s.Helper()
	s.must(s.inTx(func(tx *sql.Tx) error { return s.insert(tx, rows...) }))
}

// row is a message with a new id.
func row(destination, key, body string) store.NewRow {
	return store.NewRow{ID: waybill.NewID(), Destination: destination, Key: key, Body: []byte(body)}
}

func (s *suite) clock() int64 {
	s.Helper()
	now, err := s.queue.Clock(s.Context())
	s.must(err)
	return now
}

// clockMoves returns once the database's clock shows a later time.
func (s *suite) clockMoves() {
	s.Helper()
	for now := s.clock(); s.clock() <= now; {
	}
}

// all reads every row, in order of id.
func (s *suite) all() []store.Row {
	s.Helper()
	for {
		rows, err := s.queue.Scan(s.Context(), 0, 1_000_000, 0)
		if !s.passes(err) {
			s.must(err)
			return rows
		}
	}
}

func (s *suite) wantRowCount(want int) {
	s.Helper()
	if got := len(s.all()); got != want {
		s.Errorf("got %d rows, want %d", got, want)
	}
}

// find reads the one row of a message.
func (s *suite) find(id waybill.ID) store.Row {
	s.Helper()
	rows, err := s.queue.Find(s.Context(), []waybill.ID{id})
	s.must(err)
	if len(rows) != 1 {
		s.Fatalf("got %d rows of message %s, want 1", len(rows), id)
	}
	return rows[0]
}

// guard calls RecordOnce or RecordLatest in tx.
type guard func(tx store.Session) ([]store.Verdict, error)

// guardIn runs a guard in a transaction that it commits or rolls back, and again as the
// inbox does. It returns the last run's verdicts.
func (s *suite) guardIn(commits bool, g guard) ([]store.Verdict, error) {
	for {
		verdicts, err := s.guardOnce(commits, g)
		if !s.passes(err) {
			return verdicts, err
		}
	}
}

// passes says whether a guard's transaction, or a read, has failed in a way that is over when it is run
// again: in a conflict, and in a strange session because that limits the time of a
// statement, which a busy machine takes.
func (s *suite) passes(err error) bool {
	switch {
	case err == nil:
		return false
	case s.h.Engine != nil && s.dialect.TimedOut(err):
		return true
	}
	return s.ledger.Condition(err) == store.Conflict
}

// guardOpen runs a guard as guardIn does, and returns the transaction that is open.
func (s *suite) guardOpen(g guard) *store.Transaction {
	s.Helper()
	for {
		tx, err := s.ledger.Begin(s.Context())
		if err == nil {
			s.Cleanup(func() { _ = tx.Rollback() })
			if _, err = g(tx); err == nil {
				return tx
			}
			_ = tx.Rollback()
		}
		if !s.passes(err) {
			s.Fatal(err)
		}
	}
}

func (s *suite) guardOnce(commits bool, g guard) ([]store.Verdict, error) {
	tx, err := s.ledger.Begin(s.Context())
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	verdicts, err := g(tx)
	if err == nil && commits {
		err = tx.Commit(s.Context())
	}
	return verdicts, err
}

func (s *suite) once(marks ...store.Mark) []store.Verdict {
	s.Helper()
	verdicts, err := s.guardIn(true, func(tx store.Session) ([]store.Verdict, error) { return s.ledger.RecordOnce(s.Context(), tx, marks) })
	s.must(err)
	return verdicts
}

func (s *suite) latest(marks ...store.Mark) []store.Verdict {
	s.Helper()
	verdicts, err := s.guardIn(true, func(tx store.Session) ([]store.Verdict, error) { return s.ledger.RecordLatest(s.Context(), tx, marks) })
	s.must(err)
	return verdicts
}

// concurrently runs f in n goroutines that begin at the same time and returns their
// errors.
func concurrently(n int, f func(i int) error) error {
	start, done := make(chan struct{}), make(chan error, n)
	for i := range n {
		go func() {
			<-start
			done <- f(i)
		}()
	}
	close(start)
	var errs []error
	for range n {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// field returns one property of each element.
func field[T, F any](all []T, get func(T) F) []F {
	fields := make([]F, len(all))
	for i, element := range all {
		fields[i] = get(element)
	}
	return fields
}

func rowID(r store.Row) int64          { return r.ID }
func messageID(r store.Row) waybill.ID { return r.MessageID }
func body(r store.Row) string          { return string(r.Body) }

// rising reports whether each element is greater than the one before.
func rising[T cmp.Ordered](all []T) bool {
	for i := 1; i < len(all); i++ {
		if all[i] <= all[i-1] {
			return false
		}
	}
	return true
}
