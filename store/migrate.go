package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Side is one half of the tables. Each half has a version of its own, in
// waybill_version.
type Side string

const (
	Producer Side = "producer" // qmessage, qmessage_key, qrelay, qoutbox, qconfirmed
	Consumer Side = "consumer" // n1_record, n2_record, n_horizon
)

// Migration is one step of a side's tables, forward only. Its statements can be
// run twice without harm.
type Migration struct {
	Side       Side
	Version    int // from 1 without gaps per side
	Statements []string
}

// Migrate brings one side's tables to this program's version. It may run in any
// number of processes at once, which wait for each other, and any number of times.
// NewNames has the prefix's rules; a schema that it names is made where missing and
// where the database can (in SQLite it is a database that the caller attaches).
//
// Tables of a newer version are a *waybill.SchemaError and are left alone. A migration
// that fails, or whose ctx ends, leaves nothing behind where DDL is part of
// transactions, as in PostgreSQL and SQLite; in MySQL the next one goes on from there.
//
// It mends a trigger of MySQL's that cannot run any more because the account that made
// it is gone, also where the tables have this program's version.
func Migrate(ctx context.Context, db *sql.DB, dialect Dialect, prefix string, side Side) (err error) {
	names, err := NewNames(prefix)
	if err != nil {
		return err
	}
	s := newSessions(db, dialect)
	session, err := s.take(ctx)
	if err != nil {
		return fmt.Errorf("waybill: connect to the database: %w", err)
	}
	defer s.restore(session)
	conn := session.Conn
	if err := lock(ctx, conn, dialect.Lock(names)); err != nil {
		return fmt.Errorf("waybill: wait for other migrations: %w", err)
	}
	defer func() {
		// The connection goes back to its pool, so the lock must not stay on it.
		unlockErr := run(context.WithoutCancel(ctx), conn, unlessEmpty(dialect.Unlock(names))...)
		if err == nil && unlockErr != nil {
			err = fmt.Errorf("waybill: let other migrations go on: %w", unlockErr)
		}
	}()
	if begin := dialect.BeginMigration(); begin != "" {
		return migrateInTx(ctx, conn, dialect, names, side, begin)
	}
	if err := migrate(ctx, conn, dialect, names, side); err != nil {
		return err
	}
	return repair(ctx, session, s, names, side)
}

// migrateInTx migrates in a transaction that the statement begin opens.
func migrateInTx(ctx context.Context, conn *sql.Conn, dialect Dialect, names Names, side Side, begin string) error {
	if err := beginMigration(ctx, conn, dialect, begin); err != nil {
		return fmt.Errorf("waybill: begin a migration: %w", err)
	}
	err := migrate(ctx, conn, dialect, names, side)
	if err == nil {
		if err = run(ctx, conn, Statement{SQL: "COMMIT"}); err == nil {
			return nil
		}
		err = fmt.Errorf("waybill: commit a migration: %w", err)
	}
	// The connection goes back to its pool, so the transaction must not stay open on
	// it. Where the connection is gone, the transaction is gone with it and the first
	// error says all.
	if rollbackErr := run(context.WithoutCancel(ctx), conn, Statement{SQL: "ROLLBACK"}); rollbackErr != nil && condition(dialect, err) != Unavailable {
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

// migrate runs the steps that the tables lack.
func migrate(ctx context.Context, conn *sql.Conn, dialect Dialect, names Names, side Side) error {
	if err := run(ctx, conn, dialect.CreateVersions(names)...); err != nil {
		return withAdvice(dialect, fmt.Errorf("waybill: create table %s: %w", names.Versions, err))
	}
	have, err := version(ctx, readerOn(conn), dialect, names, side)
	if err != nil {
		return err
	}
	if want := newestVersion(dialect, side); have > want {
		return &waybill.SchemaError{Side: string(side), Have: have, Want: want}
	}
	for _, m := range dialect.Migrations(names) {
		if m.Side != side || m.Version <= have {
			continue
		}
		for _, sql := range m.Statements {
			if err := run(ctx, conn, Statement{SQL: sql}); err != nil {
				return withAdvice(dialect, fmt.Errorf("waybill: migrate the %s's tables to version %d: %w", side, m.Version, err))
			}
		}
		if err := run(ctx, conn, dialect.SetVersion(names, side, m.Version)); err != nil {
			return fmt.Errorf("waybill: store the %s's version %d: %w", side, m.Version, err)
		}
	}
	return nil
}
