package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Migrate brings one side's tables to this program's version. It may run in any
// number of processes at once and any number of times; tables of a newer version
// are a *waybill.SchemaError and are left alone.
func Migrate(ctx context.Context, db *sql.DB, dialect Dialect, prefix string, side Side) (err error) {
	names, err := NewNames(prefix)
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("waybill: connect to the database: %w", err)
	}
	defer conn.Close()
	if err := lock(ctx, conn, dialect.Lock(names)); err != nil {
		return fmt.Errorf("waybill: wait for other migrations: %w", err)
	}
	defer func() {
		// The connection goes back to its pool, so the lock must not stay on it.
		unlockErr := run(context.WithoutCancel(ctx), conn, some(dialect.Unlock(names))...)
		if err == nil && unlockErr != nil {
			err = fmt.Errorf("waybill: let other migrations go on: %w", unlockErr)
		}
	}()
	begin := dialect.BeginMigration()
	if begin == "" {
		return migrate(ctx, conn, dialect, names, side)
	}
	if err := beginMigration(ctx, conn, dialect, begin); err != nil {
		return fmt.Errorf("waybill: begin a migration: %w", err)
	}
	err = migrate(ctx, conn, dialect, names, side)
	if err == nil {
		if err = run(ctx, conn, Statement{SQL: "COMMIT"}); err == nil {
			return nil
		}
		err = fmt.Errorf("waybill: commit a migration: %w", err)
	}
	// Nor must the transaction stay open there. Where the connection is gone, the
	// transaction is gone with it and the first error says all.
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

// beginMigration waits for other migrations also where the database answers
// "busy" at once instead of waiting itself.
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

func migrate(ctx context.Context, conn *sql.Conn, dialect Dialect, names Names, side Side) error {
	if err := run(ctx, conn, dialect.CreateVersions(names)...); err != nil {
		return advised(dialect, fmt.Errorf("waybill: create table %s: %w", names.Versions, err))
	}
	have, err := version(ctx, conn, dialect, names, side)
	if err != nil {
		return err
	}
	if want := latest(dialect, side); have > want {
		return &waybill.SchemaError{Side: string(side), Have: have, Want: want}
	}
	for _, m := range dialect.Migrations(names) {
		if m.Side != side || m.Version <= have {
			continue
		}
		for _, sql := range m.Statements {
			if err := run(ctx, conn, Statement{SQL: sql}); err != nil {
				return advised(dialect, fmt.Errorf("waybill: migrate the %s's tables to version %d: %w", side, m.Version, err))
			}
		}
		if err := run(ctx, conn, dialect.SetVersion(names, side, m.Version)); err != nil {
			return fmt.Errorf("waybill: store the %s's version %d: %w", side, m.Version, err)
		}
	}
	return nil
}

// Script returns the SQL that makes one side's tables from nothing, for people who
// run their own migrations. It is made of the same statements that Migrate runs.
func Script(dialect Dialect, prefix string, side Side) (string, error) {
	names, err := NewNames(prefix)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	delimiter := dialect.Capabilities().Delimiter
	write := func(sql string) {
		sql = strings.TrimSpace(sql)
		if delimiter != "" && strings.Contains(sql, ";") {
			fmt.Fprintf(&b, "DELIMITER %s\n%s%s\nDELIMITER ;\n\n", delimiter, sql, delimiter)
			return
		}
		fmt.Fprintf(&b, "%s;\n\n", sql)
	}
	for _, s := range dialect.CreateVersions(names) {
		write(s.SQL)
	}
	for _, m := range dialect.Migrations(names) {
		if m.Side != side {
			continue
		}
		fmt.Fprintf(&b, "-- %s, version %d\n\n", side, m.Version)
		for _, sql := range m.Statements {
			write(sql)
		}
	}
	write(dialect.SetVersion(names, side, latest(dialect, side)).SQL)
	return b.String(), nil
}

// CheckSchema returns a *waybill.SchemaError where one side's tables are missing
// or of another version than this program's.
func CheckSchema(ctx context.Context, db *sql.DB, dialect Dialect, names Names, side Side) error {
	have, err := version(ctx, db, dialect, names, side)
	if err != nil {
		return err
	}
	if want := latest(dialect, side); have != want {
		return &waybill.SchemaError{Side: string(side), Have: have, Want: want}
	}
	return nil
}

func version(ctx context.Context, db querier, dialect Dialect, names Names, side Side) (int, error) {
	var have int
	err := each(ctx, db, dialect.Version(names, side), func(rows *sql.Rows) error { return rows.Scan(&have) })
	return have, wrap(dialect, side, "read the tables' version", err)
}

// latest is the version of a side's tables that this program works with.
func latest(dialect Dialect, side Side) int {
	version := 0
	for _, m := range dialect.Migrations(Names{}) {
		if m.Side == side {
			version = max(version, m.Version)
		}
	}
	return version
}

func run(ctx context.Context, db Execer, statements ...Statement) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s.SQL, s.Args...); err != nil {
			return err
		}
	}
	return nil
}

// some is the statement, or none where it is empty.
func some(s Statement) []Statement {
	if s.SQL == "" {
		return nil
	}
	return []Statement{s}
}

// advised adds what the dialect knows a person can do about err.
func advised(dialect Dialect, err error) error {
	adviser, ok := dialect.(Adviser)
	if !ok {
		return err
	}
	advice := adviser.Advice(err)
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}
