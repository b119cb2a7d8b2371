// Package storetest is the conformance suite of the store seam: every dialect passes
// it, those in this module and those of third parties. A dialect's own test is a
// Harness and a call of Test; one of Properties checks it with random sequences, too,
// and Benchmark measures it.
package storetest

import (
	"context"
	"database/sql"
	"testing"

	"github.com/waybill-go/waybill/store"
)

// Harness is what the suite needs to know of a dialect and its database. Dialect and
// Open are required.
type Harness struct {
	// Dialect is the dialect under test.
	Dialect store.Dialect
	// Open opens a fresh, empty database that no other test sees, and has it closed
	// and removed when the test ends. It is called at any number of times at once.
	// Unless the dialect's Capabilities say SingleWriter it must allow 16 connections;
	// else 2, with a lock time-out of at least 10 s.
	Open func(t testing.TB) *sql.DB
	// Engine opens the database of db once more, with sessions as others may have set
	// them up: another isolation level, no autocommit, read-only, limits of time. Queue,
	// Ledger and migrations then work through it, and the suite's own statements through
	// db. Nil means db itself.
	Engine func(t testing.TB, db *sql.DB) *sql.DB
	// Placeholder returns the n-th placeholder of a statement, from 1; nil means "?".
	Placeholder func(n int) string
	// Sever ends a session from outside, as an administrator or a failing
	// server does, and returns when it has ended. Nil where sessions cannot be ended;
	// the cases are then skipped by name.
	Sever func(t *testing.T, db *sql.DB, session Session)
	// Schema returns the name of a schema, not there yet, that migrations can make,
	// and has the schema removed when the test ends. Nil where they cannot make any;
	// the case is then skipped by name.
	Schema func(t *testing.T) string
	// Version1 is a script, as the database's client takes it, that makes the tables of
	// version 1 with the rows that the suite knows of; see the dialects of this module.
	// "" for a dialect that began with a later version; the cases are then skipped by name.
	Version1 string
}

// check ends the test where the harness lacks what is required.
func (h Harness) check(t testing.TB) {
	t.Helper()
	if h.Dialect == nil || h.Open == nil {
		t.Fatal("storetest: Harness needs a Dialect and Open")
	}
}

// Session is a *sql.Conn or a *sql.Tx.
type Session interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Test runs the whole suite, each case on a database of its own and beside others.
func Test(t *testing.T, h Harness) {
	h.check(t)
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"schema", schemaCases}, {"older tables", olderCases}, {"insert", insertCases}, {"plain SQL", plainCases}, {"read", readCases}, {"write", writeCases}, {"confirmed", confirmedCases},
		{"lease", leaseCases}, {"tally", tallyCases}, {"guard", guardCases}, {"guard race", raceCases}, {"prune", pruneCases}, {"passes of pruning", passCases}, {"kept", keptCases}, {"pause", pauseCases}, {"survey", surveyCases}, {"forgotten keys", keyCases}, {"condition", conditionCases}, {"transaction", transactionCases},
		{"session", sessionCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(newSuite(t, h, !c.empty))
				})
			}
		})
	}
}

// testCase is one case; empty ones get a database without tables.
type testCase struct {
	name  string
	run   func(s *suite)
	empty bool
}
