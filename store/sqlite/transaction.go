package sqlite

import (
	"database/sql"
	"errors"
	"reflect"
	"sync/atomic"

	"github.com/waybill-go/waybill/store"
)

// Hold needs no statements: Watch sees to it all.
func (dialect) Hold(string, *sql.TxOptions, bool) []store.Hold {
	return []store.Hold{{Name: "a commit hook"}}
}

// ReadOnlyDefault implements store.TransactionDialect: query_only is no transaction's.
func (dialect) ReadOnlyDefault() string { return "" }

var errRolledBack = errors.New("SQLite has rolled it back: a conflict clause or a trigger said so, a write was interrupted or failed, or COMMIT or ROLLBACK was sent as a statement")

// Watch registers a commit hook, which lets no COMMIT through but the owner's, also none
// of single statements behind the transaction's end, and a rollback hook, which learns
// of that end. A hook of the user's own on that connection is replaced: SQLite has one
// of each. Drivers: modernc.org/sqlite and mattn/go-sqlite3; with another one the
// transaction's end is found by Probe alone, behind each handler: what that one has written
// behind the end is committed.
func (dialect) Watch(driverConn any) store.Watch {
	v := reflect.ValueOf(driverConn)
	onCommit, onRollback := v.MethodByName("RegisterCommitHook"), v.MethodByName("RegisterRollbackHook")
	if !takesHook(onCommit, 1) || !takesHook(onRollback, 0) {
		return store.Watch{}
	}
	const through, refused = 0, 1
	// A context that ends has database/sql roll back in another goroutine.
	var allowed, rolledBack atomic.Bool
	register := func(hook, f reflect.Value) { hook.Call([]reflect.Value{f}) }
	register(onCommit, reflect.MakeFunc(onCommit.Type().In(0), func([]reflect.Value) []reflect.Value {
		verdict := refused
		if allowed.Load() {
			verdict = through
		}
		return []reflect.Value{reflect.ValueOf(verdict).Convert(onCommit.Type().In(0).Out(0))}
	}))
	register(onRollback, reflect.MakeFunc(onRollback.Type().In(0), func([]reflect.Value) []reflect.Value {
		rolledBack.Store(true)
		return nil
	}))
	return store.Watch{
		Ended: func() error {
			if rolledBack.Load() {
				return errRolledBack
			}
			return nil
		},
		Allow: func() { allowed.Store(true) },
		Release: func() {
			register(onCommit, reflect.Zero(onCommit.Type().In(0)))
			register(onRollback, reflect.Zero(onRollback.Type().In(0)))
		},
	}
}

// takesHook says whether m takes one function without arguments that returns one
// integer, or nothing.
func takesHook(m reflect.Value, results int) bool {
	if !m.IsValid() || m.Type().NumIn() != 1 || m.Type().In(0).Kind() != reflect.Func {
		return false
	}
	f := m.Type().In(0)
	return f.NumIn() == 0 && f.NumOut() == results && (results == 0 || f.Out(0).ConvertibleTo(reflect.TypeFor[int]()))
}

// Probe begins a transaction, which fails inside of one and does nothing there.
func (dialect) Probe() store.Probe {
	return store.Probe{
		Statements: []string{`BEGIN`},
		Ended:      func(err error) bool { return err == nil },
		Undo:       `ROLLBACK`,
	}
}
