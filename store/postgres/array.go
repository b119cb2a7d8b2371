package postgres

import (
	"strconv"
	"strings"

	waybill "github.com/waybill-go/waybill"
)

// array builds the textual form of a PostgreSQL array, such as {1,2} or {"a","b"}.
type array struct{ b []byte }

// newArray returns an empty array with room for about size bytes.
func newArray(size int) *array { return &array{b: append(make([]byte, 0, size+2), '{')} }

func (a *array) next() {
	if len(a.b) > 1 {
		a.b = append(a.b, ',')
	}
}

func (a *array) id(id waybill.ID) {
	a.next()
	a.b, _ = id.AppendText(a.b)
}

func (a *array) int(n int64) {
	a.next()
	a.b = strconv.AppendInt(a.b, n, 10)
}

// text appends an element in quotes, in which backslash and quote alone are special.
func (a *array) text(s string) {
	a.next()
	a.b = append(a.b, '"')
	for {
		i := strings.IndexAny(s, `"\`)
		if i < 0 {
			break
		}
		a.b = append(append(a.b, s[:i]...), '\\', s[i])
		s = s[i+1:]
	}
	a.b = append(append(a.b, s...), '"')
}

func (a *array) String() string { return string(append(a.b, '}')) }

func idArray(ids []waybill.ID) string {
	a := newArray(37 * len(ids))
	for _, id := range ids {
		a.id(id)
	}
	return a.String()
}

func intArray(ids []int64) string {
	a := newArray(12 * len(ids))
	for _, id := range ids {
		a.int(id)
	}
	return a.String()
}

func textArray(texts []string) string {
	a := newArray(16 * len(texts))
	for _, t := range texts {
		a.text(t)
	}
	return a.String()
}
