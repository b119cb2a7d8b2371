package statement_test

import (
	"slices"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

func TestAListHasCommasBetweenItsPlaceholders(t *testing.T) {
	for _, c := range []struct {
		name, placeholder string
		n                 int
		want              string
	}{
		{"none", "?", 0, ""},
		{"one", "?", 1, "?"},
		{"some", "?", 3, "?, ?, ?"},
		{"rows", "(?, ?)", 2, "(?, ?), (?, ?)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := statement.List(c.placeholder, c.n); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestArgumentsAreAsDriversTakeThem(t *testing.T) {
	id := waybill.LowestID(waybill.NewID().Time())
	for _, c := range []struct {
		name      string
		got, want []any
	}{
		{"numbers", statement.Args([]int64{1, 2}), []any{int64(1), int64(2)}},
		{"texts", statement.Args([]string{"a", ""}), []any{"a", ""}},
		{"ids", statement.IDs([]waybill.ID{id}), []any{id.String()}},
		{"keys", statement.Keys([]store.Mark{{Destination: "d", Key: "k"}, {Destination: "e", Topic: true}}), []any{"d", int64(0), "k", "e", int64(1), ""}},
		{"flags", []any{statement.Flag(true), statement.Flag(false)}, []any{int64(1), int64(0)}},
		{"texts that may be null", []any{statement.TextOrNull("a"), statement.TextOrNull("")}, []any{"a", nil}},
		{"ids that may be null", []any{statement.IDOrNull(id), statement.IDOrNull(waybill.ID{})}, []any{id.String(), nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("got %v, want %v", c.got, c.want)
			}
		})
	}
}
