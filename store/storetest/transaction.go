package storetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strconv"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

// A transaction that Waybill holds is committed as a whole by its owner, or not at all,
// whatever is done to it meanwhile.
var transactionCases = []testCase{
	{name: "one that is left alone is committed", run: leftAlone},
	{name: "COMMIT as a statement commits no half of it", run: func(s *suite) { endedBy(s, "COMMIT") }},
	{name: "ROLLBACK as a statement is found out", run: func(s *suite) { endedBy(s, "ROLLBACK") }},
	{name: "tx.Commit commits no half of it", run: func(s *suite) { endedByMethod(s, (*sql.Tx).Commit) }},
	{name: "tx.Rollback is found out", run: func(s *suite) { endedByMethod(s, (*sql.Tx).Rollback) }},
	{name: "a COMMIT through a driver that is wrapped commits no half of it", run: func(s *suite) {
		s.db = s.wrapped(func(c *wrappedConn) driver.Conn { return openedConn{c} })
		endedBy(s, "COMMIT")
	}},
	{name: "a ROLLBACK through a driver that is wrapped is found out", run: func(s *suite) {
		s.db = s.wrapped(func(c *wrappedConn) driver.Conn { return openedConn{c} })
		endedBy(s, "ROLLBACK")
	}},
	{name: "a ROLLBACK is found out beneath a driver that shows nothing", run: func(s *suite) {
		if len(s.dialect.Probe().Statements) == 0 {
			s.Skip("the dialect has no statement that tells")
		}
		s.db = s.wrapped(func(c *wrappedConn) driver.Conn { return c })
		endedBy(s, "ROLLBACK")
	}},
	{name: "a statement's error is healed by a savepoint", run: healedBySavepoint},
	{name: "statements that the database has prepared work in it", run: preparedStatements},
	{name: "the end of its context rolls it back", run: contextEnds},
	{name: "a deadlock that is ignored commits no half of it", run: ignoredDeadlock},
	{name: "a message is not sent behind its end", run: insertBehindTheEnd},
	{name: "isolation level and access are the ones asked for", run: readOnlyTransaction},
	{name: "who goes on behind a rollback leaves nothing", run: goesOn},
	{name: "one that others have rolled back leaves no other one open", run: rolledBackByOthers},
	{name: "its driver's connection is lent, and taken back at its end", run: connectionLent},
	{name: "dead connections of the pool are passed over", run: deadConnections},
	{name: "one whose connection dies holds up nobody", run: connectionDies},
}

// notes makes a table and returns a function that reads it.
func (s *suite) notes() func() []int {
	s.Helper()
	s.run(`CREATE TABLE notes (n INTEGER PRIMARY KEY)`)
	return func() []int {
		s.Helper()
		rows, err := s.db.QueryContext(s.Context(), `SELECT n FROM notes ORDER BY n`)
		s.must(err)
		defer rows.Close()
		found := []int{}
		for rows.Next() {
			var n int
			s.must(rows.Scan(&n))
			found = append(found, n)
		}
		s.must(rows.Err())
		return found
	}
}

func (s *suite) run(statements ...string) {
	s.Helper()
	for _, text := range statements {
		s.must(s.exec(s.db, text))
	}
}

func (s *suite) beginHeld() *store.Transaction {
	s.Helper()
	t, err := store.NewBeginner(s.dialect).Begin(s.Context(), s.db, nil)
	s.must(err)
	return t
}

func (s *suite) write(tx *sql.Tx, n string) error {
	_, err := tx.ExecContext(s.Context(), `INSERT INTO notes VALUES (`+n+`)`)
	return err
}

// poolIsClean checks that the pool's only connection has nothing left of a transaction.
func (s *suite) poolIsClean(read func() []int, want ...int) {
	s.Helper()
	s.run(`INSERT INTO notes VALUES (100)`)
	_ = s.exec(s.db, `ROLLBACK`) // takes 100 away where a transaction was left open
	if got := read(); !slices.Equal(got, append(slices.Clone(want), 100)) {
		s.Errorf("a statement behind the transaction: the table has %v, want %v and 100", got, want)
	}
	t := s.beginHeld()
	s.must(s.write(t.SQL(), "101"))
	s.must(t.Commit(s.Context()))
	if got := read(); !slices.Equal(got, append(slices.Clone(want), 100, 101)) {
		s.Errorf("a transaction behind it: the table has %v, want %v, 100 and 101", got, want)
	}
}

// rolledBackByOthers ends transactions that database/sql takes to be over already, and that
// nobody has asked about in between.
func rolledBackByOthers(s *suite) {
	s.db.SetMaxOpenConns(1)
	read := s.notes()
	t := s.beginHeld()
	s.must(s.write(t.SQL(), "1"))
	_ = t.SQL().Rollback()
	t.Rollback()
	s.poolIsClean(read)

	s.run(`DELETE FROM notes`)
	ctx, cancel := context.WithCancel(s.Context())
	t, err := store.NewBeginner(s.dialect).Begin(ctx, s.db, nil)
	s.must(err)
	s.must(s.write(t.SQL(), "1"))
	cancel()
	patience.Until(s, "the transaction to end with its context", func() bool { return errors.Is(s.write(t.SQL(), "2"), sql.ErrTxDone) })
	t.Rollback()
	s.poolIsClean(read)
}

func leftAlone(s *suite) {
	s.db.SetMaxOpenConns(1)
	read := s.notes()
	t := s.beginHeld()
	s.must(s.write(t.SQL(), "1"))
	s.must(t.Intact())
	s.must(t.Commit(s.Context()))
	t.Rollback()
	if err := t.Commit(s.Context()); !errors.Is(err, sql.ErrTxDone) {
		s.Errorf("a second Commit says %v, want %v", err, sql.ErrTxDone)
	}
	t = s.beginHeld()
	s.must(s.write(t.SQL(), "2"))
	t.Rollback()
	t.Rollback()
	if got := read(); !slices.Equal(got, []int{1}) {
		s.Errorf("the table has %v, want 1, which was committed", got)
	}
	s.poolIsClean(read, 1)
}

// endedBy sends a statement that ends a transaction. It may be refused, and then all is
// committed; if not, nothing is.
func endedBy(s *suite, statement string) {
	s.db.SetMaxOpenConns(1)
	read := s.notes()
	t := s.beginHeld()
	s.must(s.write(t.SQL(), "1"))
	_, refused := t.SQL().ExecContext(s.Context(), statement)
	ended := t.Intact()
	if ended == nil {
		s.must(s.write(t.SQL(), "2"))
	}
	err := t.Commit(s.Context())
	s.Logf("%s: %v; then Intact: %v; then Commit: %v", statement, refused, ended, err)
	var want []int
	switch {
	case err == nil && refused == nil:
		s.Errorf("%s was let through, and Commit succeeded", statement)
	case err == nil:
		want = []int{1, 2}
	case !errors.Is(err, waybill.ErrTxEnded):
		s.Errorf("Commit says %v, want %v", err, waybill.ErrTxEnded)
	}
	if got := read(); !slices.Equal(got, append([]int{}, want...)) {
		s.Errorf("the table has %v, want %v", got, want)
	}
	s.poolIsClean(read, want...)
}

func endedByMethod(s *suite, end func(*sql.Tx) error) {
	s.db.SetMaxOpenConns(1)
	read := s.notes()
	t := s.beginHeld()
	s.must(s.write(t.SQL(), "1"))
	_ = end(t.SQL())
	if err := t.Intact(); !errors.Is(err, waybill.ErrTxEnded) {
		s.Errorf("Intact says %v, want %v", err, waybill.ErrTxEnded)
	}
	if err := s.write(t.SQL(), "2"); err == nil {
		s.Error("a statement behind the end succeeded")
	}
	if err := t.Commit(s.Context()); !errors.Is(err, waybill.ErrTxEnded) {
		s.Errorf("Commit says %v, want %v", err, waybill.ErrTxEnded)
	}
	if got := read(); len(got) > 0 {
		s.Errorf("the table has %v, want nothing", got)
	}
	s.poolIsClean(read)
}

func healedBySavepoint(s *suite) {
	s.db.SetMaxOpenConns(1)
	read := s.notes()
	t := s.beginHeld()
	s.must(s.write(t.SQL(), "1"))
	for _, text := range []string{`SAVEPOINT outside`, `SAVEPOINT inside`} {
		_, err := t.SQL().ExecContext(s.Context(), text)
		s.must(err)
	}
	if err := s.write(t.SQL(), "1"); err == nil {
		s.Error("the same row twice succeeded")
	}
	for _, text := range []string{`ROLLBACK TO SAVEPOINT inside`, `RELEASE SAVEPOINT inside`} {
		_, err := t.SQL().ExecContext(s.Context(), text)
		s.must(err)
	}
	s.must(s.write(t.SQL(), "2"))
	s.must(t.Commit(s.Context()))
	if got := read(); !slices.Equal(got, []int{1, 2}) {
		s.Errorf("the table has %v, want 1 and 2", got)
	}
	s.poolIsClean(read, 1, 2)
}

func preparedStatements(s *suite) {
	read := s.notes()
	prepared, err := s.db.PrepareContext(s.Context(), s.bind(`INSERT INTO notes VALUES (?)`))
	s.must(err)
	defer prepared.Close()
	t := s.beginHeld()
	inside := t.SQL().StmtContext(s.Context(), prepared)
	defer inside.Close()
	_, err = inside.ExecContext(s.Context(), 1)
	s.must(err)
	s.must(t.Commit(s.Context()))
	if got := read(); !slices.Equal(got, []int{1}) {
		s.Errorf("the table has %v, want 1", got)
	}
}

func contextEnds(s *suite) {
	s.db.SetMaxOpenConns(1)
	read := s.notes()
	ctx, cancel := context.WithCancel(s.Context())
	t, err := store.NewBeginner(s.dialect).Begin(ctx, s.db, nil)
	s.must(err)
	s.must(s.write(t.SQL(), "1"))
	cancel()
	if err := t.Commit(ctx); err == nil {
		s.Error("Commit succeeded behind the end of its context")
	}
	if got := read(); len(got) > 0 {
		s.Errorf("the table has %v, want nothing", got)
	}
	s.poolIsClean(read)
}

// goesOn has somebody go on writing in a transaction while its owner rolls it back.
func goesOn(s *suite) {
	s.db.SetMaxOpenConns(1)
	read := s.notes()
	for range 20 {
		t := s.beginHeld()
		writing, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for n := 1; s.write(t.SQL(), strconv.Itoa(n)) == nil; n++ {
				if n == 5 {
					close(writing)
				}
			}
		}()
		select {
		case <-writing:
		case <-ended:
			s.Fatal("it could not write")
		}
		if lost := t.Rollback(); lost != nil {
			s.Errorf("Rollback says that the database had rolled back: %v", lost)
		}
		<-ended
		if got := read(); len(got) > 0 {
			s.Fatalf("the table has %v, want nothing", got)
		}
	}
	s.poolIsClean(read)
}

func connectionLent(s *suite) {
	s.db.SetMaxOpenConns(1)
	use := func(tx *sql.Tx, f func(driverConn any) error) error {
		s.Helper()
		found, err := store.OnConn(tx, f)
		if !found {
			s.Errorf("the transaction is not known: %v", err)
		}
		return err
	}
	nothing := func(driverConn any) error {
		if driverConn == nil {
			s.Error("the connection is nil")
		}
		return nil
	}
	t := s.beginHeld()
	failure := errors.New("failure")
	if err := use(t.SQL(), func(any) error {
		if err := use(t.SQL(), nothing); err == nil {
			s.Error("it was lent twice at a time")
		}
		return failure
	}); !errors.Is(err, failure) {
		s.Errorf("got %v, want the function's own error", err)
	}
	s.must(use(t.SQL(), nothing))
	_ = t.SQL().Rollback() // the database may refuse it, and database/sql counts it
	if err := use(t.SQL(), nothing); !errors.Is(err, waybill.ErrTxEnded) {
		s.Errorf("behind tx.Rollback: got %v, want ErrTxEnded", err)
	}
	_ = t.Rollback()

	// Whoever has it is waited for.
	for _, end := range []string{"Commit", "Rollback", "the end of the context"} {
		s.Run(end, func(*testing.T) {
			ctx, cancel := context.WithCancel(s.Context())
			defer cancel()
			t, err := store.NewBeginner(s.dialect).Begin(ctx, s.db, nil)
			s.must(err)
			ended := make(chan struct{})
			lent := make(chan struct{})
			go func() {
				<-lent
				switch end {
				case "Commit":
					_ = t.Commit(ctx)
				case "Rollback":
					_ = t.Rollback()
				default:
					cancel()
				}
				close(ended)
			}()
			s.must(use(t.SQL(), func(any) error {
				close(lent)
				if end == "the end of the context" {
					<-ended
				}
				select {
				case <-ended:
				default:
					_, err := t.SQL().ExecContext(s.Context(), `SELECT 1`)
					s.must(err)
				}
				return nil
			}))
			<-ended
			_ = t.Rollback()
			if found, _ := store.OnConn(t.SQL(), nothing); found {
				s.Error("a transaction that is over is still known")
			}
		})
	}
	plain, err := s.db.BeginTx(s.Context(), nil)
	s.must(err)
	if found, _ := store.OnConn(plain, nothing); found {
		s.Error("a transaction of nobody's is known")
	}
	s.must(plain.Rollback())
}

// ignoredDeadlock has two transactions lock two rows in opposite orders. The one that
// loses goes on as if nothing had happened.
func ignoredDeadlock(s *suite) {
	if s.dialect.Capabilities().SingleWriter {
		s.Skip("one transaction writes at a time here: no two can lock each other out")
	}
	read := s.notes()
	s.run(`CREATE TABLE hot (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)`, `INSERT INTO hot VALUES (1, 0), (2, 0)`)
	const first, second = `UPDATE hot SET n = n + 1 WHERE id = 1`, `UPDATE hot SET n = n + 1 WHERE id = 2`
	one, two := s.beginHeld(), s.beginHeld()
	type outcome struct {
		ignored, err error
		row          int
	}
	play := func(t *store.Transaction, row int, mine, other string, locked chan<- bool, go_ <-chan bool) outcome {
		o := outcome{row: row}
		if o.err = s.write(t.SQL(), map[int]string{1: "1", 2: "2"}[row]); o.err == nil {
			_, o.err = t.SQL().ExecContext(s.Context(), mine)
		}
		locked <- true
		<-go_
		if o.err == nil {
			_, o.ignored = t.SQL().ExecContext(s.Context(), other)
			_ = s.write(t.SQL(), map[int]string{1: "10", 2: "20"}[row])
			o.err = t.Commit(s.Context())
		}
		t.Rollback()
		return o
	}
	locked, start, outcomes := make(chan bool, 2), make(chan bool), make(chan outcome, 2)
	go func() { outcomes <- play(one, 1, first, second, locked, start) }()
	go func() { outcomes <- play(two, 2, second, first, locked, start) }()
	<-locked
	<-locked
	close(start)
	want := []int{}
	lost := 0
	for range 2 {
		o := <-outcomes
		s.Logf("transaction %d ignored %v; its Commit: %v", o.row, o.ignored, o.err)
		if o.err == nil {
			want = append(want, o.row, 10*o.row)
			continue
		}
		lost++
		if o.ignored == nil {
			s.Errorf("transaction %d failed without a deadlock: %v", o.row, o.err)
		}
		if !errors.Is(o.err, waybill.ErrTxEnded) && s.dialect.Condition(o.err) != store.Conflict {
			s.Errorf("Commit says %v, want %v or a conflict", o.err, waybill.ErrTxEnded)
		}
	}
	if lost != 1 {
		s.Errorf("%d transactions lost, want 1", lost)
	}
	slices.Sort(want)
	if got := read(); !slices.Equal(got, want) {
		s.Errorf("the table has %v, want %v", got, want)
	}
}

func insertBehindTheEnd(s *suite) {
	if len(s.dialect.Probe().Statements) == 0 {
		s.Skip("the dialect has no statement that tells")
	}
	tx, err := s.db.BeginTx(s.Context(), nil)
	s.must(err)
	defer tx.Rollback()
	s.must(s.insert(tx, row("orders", "", "")))
	_, err = tx.ExecContext(s.Context(), `ROLLBACK`)
	s.must(err)
	err = s.insert(tx, row("orders", "", ""))
	if !errors.Is(err, waybill.ErrTxEnded) {
		s.Errorf("Insert says %v, want %v", err, waybill.ErrTxEnded)
	}
	tx.Rollback()
	if rows, err := s.queue.Scan(s.Context(), 0, 10, 0); err != nil || len(rows) > 0 {
		s.Errorf("%d rows were written (error %v), want none", len(rows), err)
	}
}

func readOnlyTransaction(s *suite) {
	if s.dialect.Capabilities().SingleWriter {
		s.Skip("SQLite's drivers know one isolation level")
	}
	read := s.notes()
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
		s.Run(level.String(), func(t *testing.T) {
			tx, err := store.NewBeginner(s.dialect).Begin(t.Context(), s.db, &sql.TxOptions{Isolation: level, ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			count := func() (n int) {
				if err := tx.SQL().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM notes`).Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			before := count()
			if level != sql.LevelSerializable { // where a reader may lock the row out
				s.run(`DELETE FROM notes`, `INSERT INTO notes VALUES (7), (8)`)
				if before == 2 {
					s.run(`INSERT INTO notes VALUES (9)`)
				}
				changed := count() != before
				if want := level == sql.LevelReadCommitted; changed != want {
					t.Errorf("another transaction's commit is seen: %v, want %v", changed, want)
				}
			}
			if err := s.write(tx.SQL(), "1"); err == nil {
				t.Error("a read-only transaction wrote")
			}
		})
	}
	if got := read(); slices.Contains(got, 1) {
		s.Errorf("the table has %v, want no 1", got)
	}
}
