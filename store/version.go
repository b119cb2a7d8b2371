package store

import (
	"context"
	"database/sql"

	waybill "github.com/waybill-go/waybill"
)

// CheckSchema returns a *waybill.SchemaError where one side's tables are missing
// or of another version than this program's.
func CheckSchema(ctx context.Context, db *sql.DB, dialect Dialect, names Names, side Side) error {
	s := newSessions(db, dialect)
	defer s.close()
	return checkSchema(ctx, s.reader(), dialect, names, side)
}

func checkSchema(ctx context.Context, db reader, dialect Dialect, names Names, side Side) error {
	have, err := version(ctx, db, dialect, names, side)
	if err != nil {
		return err
	}
	if want := newestVersion(dialect, side); have != want {
		return &waybill.SchemaError{Side: string(side), Have: have, Want: want}
	}
	return nil
}

func version(ctx context.Context, db reader, dialect Dialect, names Names, side Side) (int, error) {
	var have int
	err := db.each(ctx, dialect.Version(names, side), func(rows *sql.Rows) error { return rows.Scan(&have) })
	return have, wrap(dialect, side, "read the tables' version", err)
}

// newestVersion is the version of a side's tables that this program works with.
func newestVersion(dialect Dialect, side Side) int {
	version := 0
	for _, m := range dialect.Migrations(Names{}) {
		if m.Side == side {
			version = max(version, m.Version)
		}
	}
	return version
}
