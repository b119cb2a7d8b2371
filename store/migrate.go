package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

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
	if err := run(ctx, conn, dialect.Lock(names)...); err != nil {
		return fmt.Errorf("waybill: wait for other migrations: %w", err)
	}
	defer func() {
		// The connection goes back to its pool, so the lock must not stay on it.
		if unlockErr := run(context.WithoutCancel(ctx), conn, dialect.Unlock(names)...); err == nil && unlockErr != nil {
			err = fmt.Errorf("waybill: let other migrations go on: %w", unlockErr)
		}
	}()
	begin := dialect.BeginMigration()
	if begin == "" {
		return migrate(ctx, conn, dialect, names, side)
	}
	if err := run(ctx, conn, Statement{SQL: begin}); err != nil {
		return fmt.Errorf("waybill: begin a migration: %w", err)
	}
	if err := migrate(ctx, conn, dialect, names, side); err != nil {
		return errors.Join(err, run(context.WithoutCancel(ctx), conn, Statement{SQL: "ROLLBACK"}))
	}
	if err := run(ctx, conn, Statement{SQL: "COMMIT"}); err != nil {
		return fmt.Errorf("waybill: commit a migration: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, conn *sql.Conn, dialect Dialect, names Names, side Side) error {
	if err := run(ctx, conn, dialect.CreateVersions(names)); err != nil {
		return fmt.Errorf("waybill: create table %s: %w", names.Versions, err)
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
				return fmt.Errorf("waybill: migrate the %s's tables to version %d: %w", side, m.Version, err)
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
	write := func(sql string) { fmt.Fprintf(&b, "%s;\n\n", strings.TrimRight(strings.TrimSpace(sql), ";")) }
	write(dialect.CreateVersions(names).SQL)
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
