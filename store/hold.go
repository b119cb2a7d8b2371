package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// Hold is how a dialect keeps a transaction from being ended by anybody but its owner.
// Its statements have no arguments and run on the transaction's own connection.
type Hold struct {
	// Name says what holds the transaction, for people.
	Name string
	// Plain has the driver begin with its defaults, where Begin itself sets the
	// isolation level.
	Plain bool
	// Begin runs right after the driver has begun. One text may have several statements
	// where every driver that can run it sends it as it is, or fails with an error that
	// Unknown knows.
	Begin []string
	// Unknown says that an error of Begin comes of a server, or a role, that can never
	// hold a transaction in this way. Any other error is a failure of the moment, and
	// must not make transactions looser from then on. Nil stands for never.
	Unknown func(err error) bool
	// Refused says that an error of Begin comes of a server that lets nobody write, as a
	// standby does. Nil stands for never.
	Refused func(err error) bool
	// Commit runs when the owner commits, before the driver does, all of it whatever
	// fails. It fails where the transaction is not the one that Begin ran in.
	Commit []string
	// Commits says that Commit is the commit itself, so that what the driver does
	// after it counts no more. Where one statement fails, the next one tells why.
	Commits bool
	// Rollback runs before the driver rolls back, all of it whatever fails. Where the
	// first fails and the last does not, the database had rolled back before.
	Rollback []string
	// Catch begins an ordinary transaction right behind Rollback, or a Commit that has
	// failed, for the driver to roll back: who still has the SQL may go on with it, as a
	// handler that was left behind, and his statement must not commit by itself. Empty
	// where the driver's rollback is what ends the transaction.
	Catch string
	// After runs when the driver has committed or rolled back: it sets back what Begin
	// has set on the connection.
	After []string
}

// Watch looks at one transaction through its driver's connection and asks nothing of
// the database. Any of its functions may be nil.
type Watch struct {
	// Ended says why the transaction cannot be committed any more, or nil.
	Ended func() error
	// Busy says whether a result is still being read on the connection, which can do
	// nothing else until then.
	Busy func() bool
	// Allow lets the next COMMIT through, which is the owner's.
	Allow func()
	// Release ends the watch.
	Release func()
}

// TransactionDialect is the part of a Dialect that guards transactions themselves:
// databases end them on their own (a deadlock, a conflict clause), statements end them
// in passing (DDL), and so do people (COMMIT in a handler). What follows would commit
// statement by statement.
type TransactionDialect interface {
	// Hold returns the ways to hold a transaction with these options, the best one
	// first and one that works everywhere last: where the server does not know the
	// statements of one, the next is tried. nonce is a random word of letters and
	// digits that no other call uses. readWrite asks for a transaction that writes
	// whatever the session's default is.
	Hold(nonce string, o *sql.TxOptions, readWrite bool) []Hold
	// ReadOnlyDefault asks, in one row of one column, whether a session's transactions take
	// no writes unless they are asked to: for databases where each asking costs a round
	// trip. "" where it costs next to nothing, so that every transaction is asked to.
	ReadOnlyDefault() string
	// Watch watches the transaction that is open on a driver's connection, as
	// sql.Conn.Raw shows it; the zero Watch where nothing is known of that driver.
	Watch(driverConn any) Watch
	// Probe tells whether a transaction is open; the zero Probe where no statement can
	// tell without harm.
	Probe() Probe
}

// Probe finds out whether a transaction is open on a connection.
type Probe struct {
	Statements []string
	// Ended judges what the last statement came to, or the first that failed.
	Ended func(err error) bool
	// Undo takes back what the statements did where no transaction was open.
	Undo string
}

// finish runs the statements that end the hold, all of them whatever fails, and behind them
// Hold.Catch, unless they have committed. No statement of anybody else comes in between.
func (t *Transaction) finish(ctx context.Context, statements []string, committing bool) (errs []error) {
	run := func(exec func(text string) error) {
		errs = nil
		for _, text := range statements {
			errs = append(errs, exec(text))
		}
		if t.hold.Catch != "" && !(committing && errors.Join(errs...) == nil) {
			t.caught = exec(t.hold.Catch) == nil
		}
	}
	alone := false
	_ = t.conn.Raw(func(driverConn any) error {
		on, ok := driverConn.(driver.ExecerContext)
		if !ok {
			return nil
		}
		alone = true
		run(func(text string) error {
			_, err := on.ExecContext(ctx, text, nil)
			alone = alone && !errors.Is(err, driver.ErrSkip) // then it was not run
			return err
		})
		return nil // also where it is dead: who closes a sql.Conn waits for the transaction on it
	})
	if !alone {
		run(func(text string) error {
			_, err := t.exec(ctx, text)
			return err
		})
	}
	return errs
}

// close runs the statements of Hold.Commit.
func (t *Transaction) close(ctx context.Context) error {
	var problem error
	for _, err := range t.finish(ctx, t.hold.Commit, true) {
		if err != nil {
			problem = err
		}
	}
	switch {
	case problem == nil:
		return nil
	case condition(t.dialect, problem) == Other:
		t.end(problem)
		return t.ended
	}
	return problem
}

// unhold runs the statements of Hold.Rollback, and returns why the database had rolled
// back already, where it had. A connection on which the last of them fails is of no use.
func (t *Transaction) unhold(ctx context.Context) error {
	if t.caught || len(t.hold.Rollback) == 0 {
		return nil
	}
	errs := t.finish(ctx, t.hold.Rollback, false)
	first, last := errs[0], errs[len(errs)-1]
	switch {
	case last != nil:
		t.spoilt.Store(true)
		return nil
	case first == nil || condition(t.dialect, first) == Unavailable:
		return nil
	}
	return &conflictError{first}
}

// probe returns an error where no transaction is open on tx's connection.
func probe(ctx context.Context, tx Execer, dialect Dialect) error {
	if t := heldTransaction(tx); t != nil {
		return t.Intact()
	}
	if err := ask(ctx, tx, dialect.Probe()); err != nil {
		return &endedError{err}
	}
	return nil
}

// ask has a probe find out whether a transaction is open on tx's connection, and returns an
// error where none is.
func ask(ctx context.Context, tx Execer, p Probe) error {
	if len(p.Statements) == 0 {
		return nil
	}
	var err error
	for _, s := range p.Statements {
		if _, err = tx.ExecContext(ctx, s); err != nil {
			break
		}
	}
	if !p.Ended(err) {
		return nil
	}
	if p.Undo != "" {
		if _, err := tx.ExecContext(ctx, p.Undo); err != nil {
			return fmt.Errorf("undo the probe of a transaction: %w", err)
		}
	}
	return errNoneOpen
}

var errNoneOpen = errors.New("no transaction is open on its connection: the database has rolled it back, as after a deadlock, or a statement has ended it")
