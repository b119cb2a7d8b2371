// Package dialecttest has what the tests of this module's dialects share, beside the
// suite that every dialect passes (package storetest).
package dialecttest

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// DatabaseName returns a name for a database or a schema that no other test has.
func DatabaseName() string { return fmt.Sprintf("waybill_test_%016x", rand.Uint64()) }

// Migrate makes the tables of both sides and returns their names.
func Migrate(t testing.TB, db *sql.DB, dialect store.Dialect, prefix string) store.Names {
	t.Helper()
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), db, dialect, prefix, side); err != nil {
			t.Fatal(err)
		}
	}
	names, err := store.NewNames(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// MakeVersion1 makes the tables that both sides had in version 1.
func MakeVersion1(t testing.TB, db *sql.DB, dialect store.Dialect) store.Names {
	t.Helper()
	names, err := store.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	statements := dialect.CreateVersions(names)
	for _, m := range dialect.Migrations(names) {
		if m.Version > 1 {
			continue
		}
		for _, text := range m.Statements {
			statements = append(statements, store.Statement{SQL: text})
		}
		statements = append(statements, dialect.SetVersion(names, m.Side, 1))
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s.SQL); err != nil {
			t.Fatalf("%s: %v", s.SQL, err)
		}
	}
	return names
}

// WantFull checks whether the dialect takes an error, bare and wrapped, for that of a database
// without room.
func WantFull(t *testing.T, dialect store.Dialect, err error, want bool) {
	t.Helper()
	for _, err := range []error{err, fmt.Errorf("wrapped: %w", err)} {
		if got := dialect.Full(err); got != want {
			t.Errorf("%#v: got full: %v, want %v", err, got, want)
		}
	}
}

// WantCondition checks what the dialect makes of an error, bare and wrapped.
func WantCondition(t *testing.T, dialect store.Dialect, err error, want store.Condition) {
	t.Helper()
	if got := dialect.Condition(err); got != want {
		t.Errorf("%#v: got the condition %v, want %v", err, got, want)
	}
	if err == nil {
		return
	}
	if got := dialect.Condition(fmt.Errorf("wrapped: %w", err)); got != want {
		t.Errorf("wrapped %#v: got the condition %v, want %v", err, got, want)
	}
}

// EachIndexed calls check, in a subtest each, for those of the statements below that
// indexes names, with the index by which the database has to find their rows. They
// read pages of tables that may have any number of rows, or change some rows of such a
// table, where a plan that reads it all would cost seconds or wait for other
// transactions.
func EachIndexed(t *testing.T, d store.Dialect, n store.Names, indexes map[string]string, check func(t *testing.T, s store.Statement, index string)) {
	t.Helper()
	const page, top = 500, 1 << 40
	ids, rows := make([]waybill.ID, page), make([]int64, page)
	for i := range page {
		ids[i], rows[i] = waybill.NewID(), int64(i+1)
	}
	keys, marks := make([]store.Key, page), make([]store.Mark, page)
	for i := range page {
		key := strconv.Itoa(i)
		keys[i], marks[i] = store.Key{Destination: "o", Key: key}, store.Mark{ID: ids[i], Destination: "o", Key: key}
	}
	statements := map[string]store.Statement{
		"Scan":            d.Scan(n, 0, page),
		"ScanDestination": d.ScanDestination(n, "o", false, 0, top, page),
		"ScanDue":         d.ScanDue(n, 0, 0, page),
		"ScanNewest":      d.ScanNewest(n, waybill.ID{}, waybill.NewID(), page),
		"ScanPast":        d.ScanPast(n, []store.Lane{{Destination: "o"}, {Destination: "o", Topic: true}}, 0, page),
		"Find":            d.Find(n, ids),
		"FindBriefly":     d.FindBriefly(n, ids),
		"Find one":        d.Find(n, ids[:1]),
		"Rows":            d.Rows(n, rows),
		"Answers":         d.Answers(n, ids),
		"Sweep":           d.Sweep(n, 0, top, page),
		"Floor":           d.Floor(n, waybill.NewID()),
		"RejectedFloor":   d.RejectedFloor(n, waybill.LowestID(time.UnixMilli(1)), waybill.NewID()),
		"Rejections":      d.Rejections(n, 1, top, 1<<30),
		"List pending":    d.List(n, "", store.Pending, 0, page),
		"List rejected":   d.List(n, "", store.Rejected, 0, page),
		"Delete":          d.Delete(n, make([]waybill.ID, page)),
		"CountCopies":     d.CountCopies(n, make([]int64, page)),
		"ScanUnanswered":  d.ScanUnanswered(n, "o", false, "c", 0, top, page),
		"Answered":        d.Answered(n, waybill.ID{}, page),
		"DeleteAnswers":   d.DeleteAnswers(n, make([]waybill.ID, page)),
		"OnceWindow":      d.OnceWindow(n, "c", waybill.ID{}, waybill.NewID(), page),
		"PruneOnce":       d.PruneOnce(n, "c", make([]waybill.ID, page)),

		"Present":          d.Present(n, ids),
		"UnlockedRows":     d.UnlockedRows(n, rows),
		"UnlockedAnswers":  d.UnlockedAnswers(n, ids),
		"Reject":           d.Reject(n, ids[0], ""),
		"Postpone":         d.Postpone(n, ids[0], 1, 1, 1, ""),
		"Resend":           d.Resend(n, ids[0], ids[0]),
		"Discard":          d.Discard(n, ids[0]),
		"DeleteRejections": d.DeleteRejections(n, ids[0]),
		"KeyPage":          d.KeyPage(n, store.Key{}, 1, page),
		"ForgetKeys":       d.ForgetKeys(n, keys, 1),
		"LatestIDs":        d.LatestIDs(n, "c", marks),
		"Horizons":         d.Horizons(n, "c", []string{"p", "q"}),
		"StatePage":        d.StatePage(n, "c", store.Key{}, 1, page),
		"ForgetStates":     d.ForgetStates(n, "c", keys, 1),
		"ForgottenStates":  d.ForgottenStates(n, "c"),
		"DueKept":          d.DueKept(n, "c", 0, page),
		"CountWaiting":     d.CountWaiting(n, "c", page),
		"LowestWaiting":    d.LowestWaiting(n, "c"),
		"KeptRow":          d.KeptRow(n, "c", 1),
		"ListKept":         d.ListKept(n, "", "", store.AnyStatus, 0, page),
		"FindKept":         d.FindKept(n, "", waybill.NewID()),
		"Glance oldest":    d.Glance(n, 0, false, page),
		"Glance newest":    d.Glance(n, top, true, page),
		"GlanceRejected":   d.GlanceRejected(n, store.Place{MessageID: waybill.LowestID(time.UnixMilli(1))}, page),
		"GlanceKept":       d.GlanceKept(n, 0, page),
		"ResendSeen":       d.ResendSeen(n, ids[0], 1),
		"DiscardSeen":      d.DiscardSeen(n, ids[0], 1),
		"Tally oldest":     d.Tally(n, store.OldestRows, 0, top, page),
		"Tally newest":     d.Tally(n, store.NewestRows, 0, top, page),
		"Tally rejected":   d.Tally(n, store.RejectedRows, 0, top, page),
		"TallyKept":        d.TallyKept(n, "", page),
		"TallyRecords":     d.TallyRecords(n, "c", page),
		"NextConsumer":     d.NextConsumer(n, "c"),
		"TallyKept of one": d.TallyKept(n, "c", page),
	}
	if d, ok := d.(store.DueByMessageID); ok {
		statements["ScanDue"] = d.ScanDueByMessageID(n, 0, waybill.ID{}, page)
	}
	for name, index := range indexes {
		t.Run(name, func(t *testing.T) {
			s, ok := statements[name]
			if !ok {
				t.Fatalf("there is no statement %q", name)
			}
			check(t, s, index)
		})
	}
}
