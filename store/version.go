package store

import (
	"context"
	"database/sql"
	"fmt"

	waybill "github.com/waybill-go/waybill"
)

// CheckSchema returns a *waybill.SchemaError where one side's tables are missing, or of
// a version that this program cannot work with. It works with its own version, with older
// ones back to WorksWith of its newest Migration, and with newer ones that say they serve
// programs of its version (CompatibleFrom). An error matches ErrRefused where the database
// does not let us in.
func CheckSchema(ctx context.Context, db *sql.DB, dialect Dialect, names Names, side Side) error {
	s := newSessions(db, dialect)
	defer s.close()
	_, err := checkSchema(ctx, s.reader(), dialect, names, side)
	return err
}

// checkSchema returns the tables' version too.
func checkSchema(ctx context.Context, db reader, dialect Dialect, names Names, side Side) (have int, err error) {
	have, err = version(ctx, db, dialect, names, side)
	if err != nil {
		return 0, asRefused(dialect, err)
	}
	serves, err := isServed(ctx, db, dialect, names, side, have)
	if err == nil && !serves {
		err = &waybill.SchemaError{Side: string(side), Have: have, Want: newestVersion(dialect, side)}
	}
	return have, err
}

// isServed says whether tables of this version serve this program.
func isServed(ctx context.Context, db reader, dialect Dialect, names Names, side Side, have int) (bool, error) {
	newest := newestVersion(dialect, side)
	if have <= newest {
		return have > 0 && have >= oldestTables(dialect, side), nil
	}
	from, err := compatibleFrom(ctx, db, dialect, names, side, have)
	return from <= newest, err
}

func version(ctx context.Context, db reader, dialect Dialect, names Names, side Side) (int, error) {
	var have int
	err := db.each(ctx, dialect.Version(names, side), func(rows *sql.Rows) error { return rows.Scan(&have) })
	return have, wrap(dialect, side, "read the tables' version", err)
}

// compatibleFrom reads the oldest version of programs that tables of a version serve. Where
// none is stored, they serve those of their own version alone.
func compatibleFrom(ctx context.Context, db reader, dialect Dialect, names Names, side Side, version int) (int, error) {
	from := version
	err := db.each(ctx, dialect.Version(names, compatibility(side, version)), func(rows *sql.Rows) error { return rows.Scan(&from) })
	return from, wrap(dialect, side, "read what the tables are compatible with", err)
}

// compatibility is the name under which waybill_version has the oldest version of programs
// that a side's tables of a version serve, such as "producer.2". It is a row of its own:
// the row of the side itself is all that older programs know.
func compatibility(side Side, version int) Side { return Side(fmt.Sprintf("%s.%d", side, version)) }

// newestVersion is the version of a side's tables that this program makes.
func newestVersion(dialect Dialect, side Side) int {
	version := 0
	for _, m := range dialect.Migrations(Names{}) {
		if m.Side == side {
			version = max(version, m.Version)
		}
	}
	return version
}

// oldestTables is the oldest version of a side's tables that this program works with.
func oldestTables(dialect Dialect, side Side) int {
	version, oldest := 0, 0
	for _, m := range dialect.Migrations(Names{}) {
		if m.Side == side && m.Version > version {
			version, oldest = m.Version, m.Version
			if m.WorksWith > 0 {
				oldest = m.WorksWith
			}
		}
	}
	return oldest
}

// Version is what the tables of one side are, and what this program makes of them.
type Version struct {
	Have           int  // of the tables; 0: there are none
	CompatibleFrom int  // the oldest version of programs that they serve; 0: there are none
	Newest         int  // the version that this program makes
	Serves         bool // they serve this program
}

// ReadVersion reads the version of one side's tables.
func ReadVersion(ctx context.Context, db *sql.DB, dialect Dialect, names Names, side Side) (Version, error) {
	s := newSessions(db, dialect)
	defer s.close()
	v := Version{Newest: newestVersion(dialect, side)}
	var err error
	if v.Have, err = version(ctx, s.reader(), dialect, names, side); err != nil || v.Have == 0 {
		return v, err
	}
	if v.CompatibleFrom, err = compatibleFrom(ctx, s.reader(), dialect, names, side, v.Have); err != nil {
		return v, err
	}
	v.Serves, err = isServed(ctx, s.reader(), dialect, names, side, v.Have)
	return v, err
}
