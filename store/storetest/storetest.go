// Package storetest is the conformance suite of the store seam: every dialect passes
// it, those in this module and those of third parties. A dialect's own test is a
// Harness and one call of Test.
package storetest

import (
	"cmp"
	"database/sql"
	"errors"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// Harness is what the suite needs to know of a dialect and its database.
type Harness struct {
	// Dialect is the dialect under test.
	Dialect store.Dialect
	// Open opens a fresh, empty database that no other test sees, and has it closed
	// and removed when the test ends. Unless the dialect's Capabilities say SingleWriter it
	// must allow 16 connections; else 2, with a lock time-out of at least 10 s.
	Open func(t testing.TB) *sql.DB
	// Placeholder is the n-th placeholder of a statement, from 1; nil means "?".
	Placeholder func(n int) string
	// Sever ends the session of conn from outside, as an administrator or a failing
	// server does. Nil where sessions cannot be ended; the case is then skipped by name.
	Sever func(t *testing.T, db *sql.DB, conn *sql.Conn)
	// Schema is the name of a schema, not there yet, that migrations can make and
	// that is removed with the database of Open. Empty where they cannot make any;
	// the case is then skipped by name.
	Schema func(t *testing.T) string
}

// Test runs the whole suite, each case on a database of its own.
func Test(t *testing.T, h Harness) {
	if h.Dialect == nil || h.Open == nil {
		t.Fatal("storetest: Harness needs a Dialect and Open")
	}
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"schema", schemaCases}, {"insert", insertCases}, {"plain SQL", plainCases}, {"read", readCases}, {"write", writeCases},
		{"lease", leaseCases}, {"guard", guardCases}, {"guard race", raceCases}, {"prune", pruneCases}, {"condition", conditionCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(newSuite(t, h, !c.empty))
				})
			}
		})
	}
}

// testCase is one case; empty ones get a database without tables.
type testCase struct {
	name  string
	run   func(s *suite)
	empty bool
}

// consumer is the consumer's name where a case needs but one.
const consumer = "shipping"

// suite is one case's database and the tables in it.
type suite struct {
	*testing.T
	h       Harness
	db      *sql.DB
	dialect store.Dialect
	names   store.Names
	queue   *store.Queue
	ledger  *store.Ledger
}

func newSuite(t *testing.T, h Harness, migrated bool) *suite {
	t.Helper()
	s := &suite{T: t, h: h, db: h.Open(t), dialect: h.Dialect}
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
	other.queue, err = store.NewQueue(s.db, s.dialect, prefix)
	s.must(err)
	other.ledger, err = store.NewLedger(s.db, s.dialect, prefix, consumer)
	s.must(err)
	return &other
}

func (s *suite) migrate(prefix string) {
	s.Helper()
	s.must(store.Migrate(s.Context(), s.db, s.dialect, prefix, store.Producer))
	s.must(store.Migrate(s.Context(), s.db, s.dialect, prefix, store.Consumer))
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
func (s *suite) inTx(f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(s.Context(), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

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

// all reads every row, in order of id.
func (s *suite) all() []store.Row {
	s.Helper()
	rows, err := s.queue.Scan(s.Context(), 0, 1_000_000, 0)
	s.must(err)
	return rows
}

// find reads the one row of a message.
func (s *suite) find(id waybill.ID) store.Row {
	s.Helper()
	rows, err := s.queue.Find(s.Context(), []waybill.ID{id})
	s.must(err)
	if len(rows) != 1 {
		s.Fatalf("found %d rows of message %s, want 1", len(rows), id)
	}
	return rows[0]
}

// guarded runs one guard in a transaction of its own and commits it.
func (s *suite) guarded(guard func(tx *sql.Tx) ([]store.Verdict, error)) []store.Verdict {
	s.Helper()
	var verdicts []store.Verdict
	for {
		tx, err := s.ledger.Begin(s.Context())
		s.must(err)
		verdicts, err = guard(tx)
		if err == nil {
			err = tx.Commit()
		}
		_ = tx.Rollback()
		if err == nil {
			return verdicts
		}
		// A caller of guards runs the transaction again, as the inbox does.
		if s.ledger.Condition(err) != store.Conflict {
			s.Fatal(err)
		}
	}
}

func (s *suite) once(marks ...store.Mark) []store.Verdict {
	s.Helper()
	return s.guarded(func(tx *sql.Tx) ([]store.Verdict, error) { return s.ledger.RecordOnce(s.Context(), tx, marks) })
}

func (s *suite) latest(marks ...store.Mark) []store.Verdict {
	s.Helper()
	return s.guarded(func(tx *sql.Tx) ([]store.Verdict, error) { return s.ledger.RecordLatest(s.Context(), tx, marks) })
}

// together runs f in n goroutines that begin at the same time and returns their errors.
func together(n int, f func(i int) error) error {
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
