// Package sqlite is Waybill's dialect of SQLite, 3.37 and newer. It imports no
// driver: it works through database/sql with modernc.org/sqlite and with
// mattn/go-sqlite3.
//
// The caller's connections want three settings: journal_mode WAL, a busy_timeout
// of some seconds, and transactions that begin IMMEDIATE (modernc and mattn:
// _txlock=immediate), since a transaction that reads first and writes later is
// refused at once when another one wrote in between.
//
// No driver keeps prepared statements, so placeholders are repeated for each row:
// that is up to half faster than one JSON argument for all.
package sqlite

import (
	"reflect"
	"strings"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// clock is the host's clock in µs. It has the resolution of a millisecond.
const clock = `(CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)`

type dialect struct{}

// Dialect returns the dialect of SQLite. A table prefix with a schema, such as "app.",
// is an attached database, which the caller attaches on each connection.
func Dialect() store.Dialect { return dialect{} }

// Name returns "sqlite".
func (dialect) Name() string { return "sqlite" }

// Capabilities declares what SQLite does. Its transactions are serializable, so any
// isolation level will do.
func (dialect) Capabilities() store.Capabilities {
	return store.Capabilities{SingleWriter: true, MaxBatch: 1000, OrStop: ".bail on"}
}

// Result codes, https://www.sqlite.org/rescode.html.
const (
	codeError    = 1
	codeBusy     = 5
	codeLocked   = 6
	codeReadOnly = 8
	codeIOErr    = 10
	codeFull     = 13
	codeCantOpen = 14
	codeShmSize  = codeIOErr | 19<<8
)

// Condition classifies errors by their result code. A missing table has no code
// of its own: SQLite says it in its message alone.
func (dialect) Condition(err error) store.Condition {
	code, coded := resultCode(err)
	if coded == nil {
		return store.Other
	}
	switch code & 0xff {
	case codeBusy, codeLocked:
		return store.Conflict
	case codeReadOnly, codeIOErr, codeFull, codeCantOpen:
		return store.Unavailable
	case codeError:
		for _, missing := range []string{"no such table", "no such column", "has no column named", "unknown database"} {
			if strings.Contains(coded.Error(), missing) {
				return store.NoTable
			}
		}
	}
	return store.Other
}

// resultCode finds the driver's error in the chain of err, and its result code: modernc
// and ncruces have a method Code, mattn a field of this name, each of a type of its own.
func resultCode(err error) (code int64, coded error) {
	for err := range statement.Tree(err) {
		v := reflect.ValueOf(err)
		if m := v.MethodByName("Code"); m.IsValid() && m.Type().NumIn() == 0 && m.Type().NumOut() == 1 {
			if code, ok := integer(m.Call(nil)[0]); ok {
				return code, err
			}
		}
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() == reflect.Struct {
			if code, ok := integer(v.FieldByName("Code")); ok {
				return code, err
			}
		}
	}
	return 0, nil
}

// integer is a value as an int64, where it is a whole number.
func integer(v reflect.Value) (int64, bool) {
	switch {
	case v.IsValid() && v.CanInt():
		return v.Int(), true
	case v.IsValid() && v.CanUint():
		return int64(v.Uint()), true
	}
	return 0, false
}
