// Package statement has what the dialects put their statements together with. The SQL
// itself stands whole in each dialect.
package statement

import (
	"strings"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// New returns the statement of a text, with the tables' names written into it.
func New(n store.Names, text string, args ...any) store.Statement {
	return store.Statement{SQL: n.SQL(text), Args: args}
}

// List repeats a placeholder, such as "?" or "(?, ?)", n times with commas between.
func List(placeholder string, n int) string {
	return strings.TrimSuffix(strings.Repeat(placeholder+", ", n), ", ")
}

// Flag returns a truth value as the number that it is in dest_type.
func Flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Outcome returns what qconfirmed has for an answer.
func Outcome(a store.Answer) int64 {
	if a.Rejected {
		return store.Rejected
	}
	return 0
}

// TextOrNull returns a text as an argument, null for the empty one.
func TextOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// IDOrNull returns an id as an argument, null for the zero one.
func IDOrNull(id waybill.ID) any {
	if id.IsZero() {
		return nil
	}
	return id.String()
}

// Args returns elements as arguments.
func Args[T int64 | string](elements []T) []any {
	args := make([]any, len(elements))
	for i, e := range elements {
		args[i] = e
	}
	return args
}

// IDs returns ids as arguments.
func IDs(ids []waybill.ID) []any {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id.String()
	}
	return args
}

// Lanes returns each destination and its type as arguments.
func Lanes(lanes []store.Lane) []any {
	args := make([]any, 0, 2*len(lanes))
	for _, l := range lanes {
		args = append(args, l.Destination, Flag(l.Topic))
	}
	return args
}

// Keys returns each mark's destination, its type and the key as arguments.
func Keys(marks []store.Mark) []any {
	args := make([]any, 0, 3*len(marks))
	for _, m := range marks {
		args = append(args, m.Destination, Flag(m.Topic), m.Key)
	}
	return args
}

// UntypedKeys returns each mark's destination and key as arguments.
func UntypedKeys(marks []store.Mark) []any {
	args := make([]any, 0, 2*len(marks))
	for _, m := range marks {
		args = append(args, m.Destination, m.Key)
	}
	return args
}

// Migrations writes the tables' names into the statements of migrations.
func Migrations(n store.Names, migrations ...store.Migration) []store.Migration {
	for _, m := range migrations {
		for _, texts := range [][]string{m.Prepare, m.Added, m.Hold, m.Statements, m.Release, m.Undo} {
			for i, text := range texts {
				texts[i] = n.SQL(text)
			}
		}
	}
	return migrations
}
