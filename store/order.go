package store

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"database/sql"
)

// sortByKey puts rows in the order that the dialects ask for: rows without a key
// first, then keys sorted, the rows of one key in the order given.
func sortByKey(rows []NewRow) []NewRow {
	if len(rows) < 2 {
		return rows
	}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b NewRow) int {
		if a.Key == "" && b.Key == "" {
			return 0
		}
		return cmp.Or(boolCompare(a.Key != "", b.Key != ""), cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Key, b.Key))
	})
	return rows
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func byID(a, b Mark) int { return a.ID.Compare(b.ID) }

func byKey(a, b Mark) int {
	return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Key, b.Key))
}

func sorted(marks []Mark, order func(a, b Mark) int) []Mark {
	marks = slices.Clone(marks)
	slices.SortFunc(marks, order)
	return marks
}

func chunks[T any](all []T, size int) iter.Seq[[]T] { return slices.Chunk(all, max(size, 1)) }

// condition adds what database/sql itself says to the dialect's own judgement.
func condition(dialect Dialect, err error) Condition {
	switch {
	case err == nil:
		return Other
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone):
		return Unavailable
	case errors.Is(err, context.Canceled):
		return Other
	}
	return dialect.Condition(err)
}

// validUTF8 cuts s to at most n bytes of valid UTF-8 without NUL, which no
// database takes as text.
func validUTF8(s string, n int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
