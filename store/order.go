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

// maxStatement is the size in bytes at which Insert begins another statement, so
// that many large bodies stay below the databases' limits of a packet.
const maxStatement = 4 << 20

// parts splits sorted rows into what one call of Dialect.Insert takes: at most
// size rows, no more bodies than one statement should carry, and either all with a
// TimeStamp of their own or none.
func parts(rows []NewRow, size int) iter.Seq[[]NewRow] {
	return func(yield func([]NewRow) bool) {
		for len(rows) > 0 {
			n, bytes := 1, len(rows[0].Body)
			for n < len(rows) && n < size && (rows[n].TimeStamp > 0) == (rows[0].TimeStamp > 0) {
				if bytes += len(rows[n].Body); bytes > maxStatement {
					break
				}
				n++
			}
			if !yield(rows[:n:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}

// Later returns for each row how many of the rows after it have its key, for rows
// sorted as Dialect.Insert gets them; 0 for rows without a key. A dialect that
// bumps a key once for all its rows counts each row's sequence back from it.
func Later(rows []NewRow) []int64 {
	later := make([]int64, len(rows))
	for i := len(rows) - 2; i >= 0; i-- {
		if rows[i].Key != "" && rows[i].Key == rows[i+1].Key && rows[i].Destination == rows[i+1].Destination {
			later[i] = later[i+1] + 1
		}
	}
	return later
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
