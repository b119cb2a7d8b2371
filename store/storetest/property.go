package storetest

import (
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/propertytest"
)

// Properties runs random sequences of the engine's methods on a dialect's database
// and compares every answer, and the tables after every step, with plain maps in
// memory. What it finds is shrunk to a short sequence, printed with the seed that
// repeats it. -rapid.checks says how many sequences there are (by default 20 of guards
// and 30 of the queue), -rapid.steps how long they are on average (30).
//
// A dialect's own test calls it beside Test.
func Properties(t *testing.T, h Harness) {
	h.check(t)
	for _, p := range []struct {
		name   string
		checks int
		tests  func(t *rapid.T, s *suite)
	}{
		{"guards do what a map of records does", 20, guardProperty},
		{"the queue does what a list of rows does", 30, queueProperty},
	} {
		t.Run(p.name, func(t *testing.T) {
			s := newSuite(t, h, true)
			propertytest.Check(t, p.checks, func(t *rapid.T) { p.tests(t, s) })
		})
	}
}

// epoch is the time that ids are minted for, plus some minutes. It does not follow the
// clock while a test runs, so that a seed repeats its sequence.
var epoch = time.Now().Add(-time.Hour).Truncate(time.Minute)

// minutes are few, so that ids, floors and horizons meet.
var minutes = rapid.IntRange(0, 9)

func minute(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }

// idOf is the n-th id of a minute; 0 is the lowest that there can be, as a floor or
// horizon at this minute is.
func idOf(m, n int) waybill.ID {
	id := waybill.LowestID(minute(m))
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

// oneOf draws one of a few names, such as those that differ in what a lax comparison
// takes for equal.
func oneOf(names ...string) *rapid.Generator[string] { return rapid.SampledFrom(names) }

// must ends the check where err is one.
func must(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
