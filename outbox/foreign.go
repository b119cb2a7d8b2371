package outbox

import (
	"database/sql"
	"reflect"
)

// plain is the *sql.Tx behind a transaction whose ExecContext does not pass arguments on to
// the database: bun's writes them into the statement itself, in its own dialect, and only at
// the placeholder '?'. Others are as they are. Hooks that bun calls for its own queries are
// not called for Send's statements.
func plain(tx Tx) Tx {
	v := reflect.ValueOf(tx)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || v.Type().Name() != "Tx" || v.Type().PkgPath() != "github.com/uptrace/bun" {
		return tx
	}
	field := v.FieldByName("Tx")
	if !field.IsValid() || !field.CanInterface() {
		return tx
	}
	if inner, ok := field.Interface().(*sql.Tx); ok && inner != nil {
		return inner
	}
	return tx
}
