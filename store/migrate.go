package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Side is one half of the tables. Each half has a version of its own, in
// waybill_version.
type Side string

const (
	Producer Side = "producer" // qmessage, qmessage_key, qrelay, qoutbox, qconfirmed, qpause
	Consumer Side = "consumer" // n1_record, n2_record, n_horizon, n_rejected, n_pause
)

// Migration is one step of a side's tables, forward only. Its statements can be
// run twice without harm.
type Migration struct {
	Side    Side
	Version int // from 1 without gaps per side
	// CompatibleFrom is the oldest version of programs that these tables serve. It is
	// stored beside the version, so that programs that are older than the tables know.
	// Default Version: no older program.
	CompatibleFrom int
	// WorksWith is the oldest version of the tables that programs of this version work
	// with. Default Version: no older tables.
	WorksWith int
	// Prepare runs first, while programs go on with tables of an older version.
	Prepare []string
	// Added follows: what tables of this version may lack, because it became part of the
	// version after they were made. It is run for those, too, each time.
	Added []string
	// Hold keeps the programs' statements waiting while Statements run, where there are
	// tables of an older version; Release ends that. Where the tables are not to be had
	// within a moment, Hold fails with a Conflict, so that nobody waits for long.
	Hold       []string
	Statements []string
	Release    []string
	// Undo takes away what the step has made, and can be run twice, too. The steps of a
	// side are undone all together, the newest first: what an older one's Undo takes away
	// need not be changed back.
	Undo []string
}

// Migrate brings one side's tables to this program's version. It may run in any
// number of processes at once, which wait for each other, and any number of times.
// NewNames has the prefix's rules; a schema that it names is made where missing and
// where the database can (in SQLite it is a database that the caller attaches).
//
// Programs go on meanwhile. The tables are locked while they are changed; where
// transactions that are open keep them, Migrate gives way after a moment and tries again,
// for up to ten minutes. Programs of an older version may not work with upgraded
// tables: upgrade the programs first (EnsureTables never upgrades too far).
//
// Tables of a newer version are left alone, and are a *waybill.SchemaError where they do
// not serve programs of this version. A migration
// that fails, or whose ctx ends, leaves nothing behind where DDL is part of
// transactions, as in PostgreSQL and SQLite; in MySQL the next one goes on from there.
//
// It mends a trigger of MySQL's that cannot run any more because the account that made
// it is gone, also where the tables have this program's version.
func Migrate(ctx context.Context, db *sql.DB, dialect Dialect, prefix string, side Side) error {
	return upgrade(ctx, db, dialect, prefix, side, true)
}

// EnsureTables is Migrate for services that make their tables when they start, any number
// of processes of which are replaced one by one: it makes tables where there are none, and
// upgrades others as far as the programs that may still use them can go on. What is left
// is for Migrate, or 'waybill init', when no older program uses the tables any more.
func EnsureTables(ctx context.Context, db *sql.DB, dialect Dialect, prefix string, side Side) error {
	return upgrade(ctx, db, dialect, prefix, side, false)
}

// upgrade takes all steps that tables lack, or only those after which they still serve
// programs of the version that they have.
func upgrade(ctx context.Context, db *sql.DB, dialect Dialect, prefix string, side Side, all bool) error {
	names, err := NewNames(prefix)
	if err != nil {
		return err
	}
	m := migration{s: newSessions(db, dialect), dialect: dialect, names: names, side: side, all: all}
	wait := leastWait
	for began := time.Now(); ; wait = min(2*wait, mostWait) {
		err := m.try(ctx)
		var busy *busyError
		switch {
		case !errors.As(err, &busy) || ctx.Err() != nil:
			return err
		case time.Since(began) > patience:
			return fmt.Errorf("%w (for %v other transactions have kept the tables: see which ones are open for long, and end them)", err, patience)
		}
		pause(ctx, wait)
	}
}

const (
	// patience is how long a migration tries to get the tables.
	patience = 10 * time.Minute
	// leastWait and mostWait bound the time between two tries, in which others go on.
	leastWait, mostWait = 500 * time.Millisecond, 5 * time.Second
)

// busyError says that the tables were not to be had at once.
type busyError struct{ error }

func (e *busyError) Unwrap() error { return e.error }

// migration is one call of Migrate.
type migration struct {
	s       *sessions
	dialect Dialect
	names   Names
	side    Side
	all     bool
}

// try migrates, unless others keep the tables.
func (m *migration) try(ctx context.Context) (err error) {
	session, err := m.s.take(ctx)
	if err != nil {
		return fmt.Errorf("waybill: connect to the database: %w", err)
	}
	defer m.s.restore(session)
	conn := session.Conn
	if err := lock(ctx, conn, m.dialect.Lock(m.names)); err != nil {
		return fmt.Errorf("waybill: wait for other migrations: %w", err)
	}
	defer func() {
		// The connection goes back to its pool, so the lock must not stay on it.
		unlockErr := run(context.WithoutCancel(ctx), conn, unlessEmpty(m.dialect.Unlock(m.names))...)
		if err == nil && unlockErr != nil {
			err = fmt.Errorf("waybill: let other migrations go on: %w", unlockErr)
		}
	}()
	if begin := m.dialect.BeginMigration(); begin != "" {
		return m.inTx(ctx, conn, begin)
	}
	if err := m.run(ctx, conn); err != nil {
		return err
	}
	return repair(ctx, session, m.s, m.names, m.side)
}

// inTx migrates in a transaction that the statement begin opens.
func (m *migration) inTx(ctx context.Context, conn *sql.Conn, begin string) error {
	if err := beginMigration(ctx, conn, m.dialect, begin); err != nil {
		return fmt.Errorf("waybill: begin a migration: %w", err)
	}
	err := m.run(ctx, conn)
	if err == nil {
		if err = run(ctx, conn, Statement{SQL: "COMMIT"}); err == nil {
			return nil
		}
		err = fmt.Errorf("waybill: commit a migration: %w", err)
	}
	// The connection goes back to its pool, so the transaction must not stay open on
	// it. Where the connection is gone, the transaction is gone with it and the first
	// error says all.
	if rollbackErr := run(context.WithoutCancel(ctx), conn, Statement{SQL: "ROLLBACK"}); rollbackErr != nil && condition(m.dialect, err) != Unavailable {
		err = errors.Join(err, fmt.Errorf("waybill: roll a migration back: %w", rollbackErr))
	}
	return err
}

// lock takes the dialect's lock for migrations, where it has one.
func lock(ctx context.Context, conn *sql.Conn, s Statement) error {
	if s.SQL == "" {
		return nil
	}
	var held sql.NullInt64
	if err := conn.QueryRowContext(ctx, s.SQL, s.Args...).Scan(&held); err != nil {
		return err
	}
	if held.Int64 != 1 {
		return errors.New("another connection keeps the lock: see which migration hangs and end it")
	}
	return nil
}

// beginMigration waits for other migrations, some seconds, also where the database
// answers "busy" at once instead of waiting itself.
func beginMigration(ctx context.Context, conn *sql.Conn, dialect Dialect, begin string) error {
	const tries, pause = 100, 50 * time.Millisecond
	for try := 1; ; try++ {
		err := run(ctx, conn, Statement{SQL: begin})
		if err == nil || try == tries || condition(dialect, err) != Conflict {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run runs the steps that the tables lack.
func (m *migration) run(ctx context.Context, conn *sql.Conn) error {
	if err := run(ctx, conn, m.dialect.CreateVersions(m.names)...); err != nil {
		return withAdvice(m.dialect, fmt.Errorf("waybill: create table %s: %w", m.names.Versions, err))
	}
	have, err := version(ctx, readerOn(conn), m.dialect, m.names, m.side)
	if err != nil {
		return err
	}
	if newest := newestVersion(m.dialect, m.side); have > newest {
		serves, err := isServed(ctx, readerOn(conn), m.dialect, m.names, m.side, have)
		if err == nil && !serves {
			err = &waybill.SchemaError{Side: string(m.side), Have: have, Want: newest}
		}
		return err
	}
	for _, step := range m.dialect.Migrations(m.names) {
		if step.Side != m.side {
			continue
		}
		if step.Version <= have {
			if err := run(ctx, conn, asStatements(step.Added)...); err != nil {
				return withAdvice(m.dialect, fmt.Errorf("waybill: add to the %s's tables of version %d: %w", m.side, step.Version, err))
			}
			continue
		}
		if !m.wants(step, have) {
			break
		}
		if err := m.step(ctx, conn, step, have > 0); err != nil {
			err = withAdvice(m.dialect, fmt.Errorf("waybill: migrate the %s's tables to version %d: %w", m.side, step.Version, err))
			if condition(m.dialect, err) == Conflict {
				err = &busyError{err}
			}
			return err
		}
	}
	return nil
}

// wants says whether to take a step, from tables that had this version.
func (m *migration) wants(step Migration, had int) bool {
	return m.all || had == 0 || step.CompatibleFrom > 0 && step.CompatibleFrom <= had
}

// step takes one step, and stores what has come of it.
func (m *migration) step(ctx context.Context, conn *sql.Conn, step Migration, inUse bool) (err error) {
	if err := run(ctx, conn, asStatements(slices.Concat(step.Prepare, step.Added))...); err != nil {
		return err
	}
	if inUse {
		defer func() {
			// Where there is a transaction, its end releases the tables, and after an error
			// no statement runs in it any more.
			releaseErr := run(context.WithoutCancel(ctx), conn, asStatements(step.Release)...)
			if err == nil {
				err = releaseErr
			}
		}()
		if err := run(ctx, conn, asStatements(step.Hold)...); err != nil {
			return err
		}
	}
	statements := asStatements(step.Statements)
	if step.CompatibleFrom > 0 {
		statements = append(statements, m.dialect.SetVersion(m.names, compatibility(m.side, step.Version), step.CompatibleFrom))
	}
	return run(ctx, conn, append(statements, m.dialect.SetVersion(m.names, m.side, step.Version))...)
}

// asStatements are texts as statements without arguments.
func asStatements(all []string) []Statement {
	statements := make([]Statement, len(all))
	for i, text := range all {
		statements[i].SQL = text
	}
	return statements
}
