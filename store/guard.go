package store

import (
	"cmp"
	"context"
	"database/sql"
	"math/rand/v2"
	"slices"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// Mark is what a guard needs to know of one message.
type Mark struct {
	ID          waybill.ID
	Producer    string // its Source
	Destination string
	Topic       bool // Destination is a topic; a queue of the same name is another destination
	Key         string
	TimeStamp   int64
}

// Verdict is what a guard says of one mark.
type Verdict int

const (
	// Fresh: recorded now; the handler is to run in the same transaction.
	Fresh Verdict = iota
	// Duplicate: this very message took effect before.
	Duplicate
	// Superseded: a newer state of its key took effect before.
	Superseded
	// Forgotten: nothing can tell whether the message took effect, or with Latest whether
	// a newer state did. With Once there is no record, but the message is below its
	// producer's horizon; with Latest its time stamp is not above what was forgotten of
	// its destination's keys. The transaction holds a record of it and must be rolled
	// back.
	Forgotten
)

// String returns the verdict's name, such as "Fresh".
func (v Verdict) String() string {
	switch v {
	case Fresh:
		return "Fresh"
	case Duplicate:
		return "Duplicate"
	case Superseded:
		return "Superseded"
	case Forgotten:
		return "Forgotten"
	}
	return "unknown verdict"
}

// RecordOnce writes the marks' records in tx, which Begin opened, and says of each
// mark, by position, what it is: Fresh, Duplicate or Forgotten. Marks may come in any
// order, but no ID twice. It waits for transactions that write the same records; after
// an error tx must be rolled back.
func (l *Ledger) RecordOnce(ctx context.Context, tx Session, marks []Mark) ([]Verdict, error) {
	if mutant.NoRecord {
		return make([]Verdict, len(marks)), nil // Fresh
	}
	if _, err := l.seeTables(ctx, tx); err != nil {
		return nil, err
	}
	return l.record(ctx, tx, marks, byID, l.dialect.RecordOnce, l.findForgotten)
}

// RecordLatest writes the marks' records in tx, which Begin opened, where they are
// newer than what is recorded, and says of each mark, by position, what it is: Fresh,
// Duplicate, Superseded or, where keys were forgotten (ForgetKeys), Forgotten. Marks may
// come in any order, but no (Destination, Topic, Key) twice. It waits for transactions that write the same records; after an error tx must
// be rolled back.
func (l *Ledger) RecordLatest(ctx context.Context, tx Session, marks []Mark) ([]Verdict, error) {
	if mutant.SelectThenUpdate {
		return l.selectThenUpdate(ctx, tx, marks)
	}
	older, err := l.seeTables(ctx, tx)
	if err != nil {
		return nil, err
	}
	build, read := l.dialect.RecordLatest, l.readLatest
	if older {
		build, read = l.dialect.RecordLatestUntyped, l.readLatestUntyped
	}
	return l.record(ctx, tx, marks, byKey, build, l.refineLatest(read, older))
}

func byID(a, b Mark) int { return a.ID.Compare(b.ID) }

func byKey(a, b Mark) int {
	return cmp.Or(cmp.Compare(a.Destination, b.Destination), compareTypes(a.Topic, b.Topic), cmp.Compare(a.Key, b.Key))
}

type (
	// guardBuilder is Dialect.RecordOnce or Dialect.RecordLatest.
	guardBuilder func(n Names, consumer string, nonce int64, marks []Mark) Guard
	// refinement changes verdicts that the guard's own answer is too coarse for.
	refinement func(ctx context.Context, tx Session, marks []Mark, verdicts []Verdict) error
)

func (l *Ledger) record(ctx context.Context, tx Session, marks []Mark, order func(a, b Mark) int, build guardBuilder, refine refinement) ([]Verdict, error) {
	if len(marks) == 0 {
		return nil, nil
	}
	fresh := make(map[waybill.ID]bool, len(marks))
	sorted := slices.Clone(marks)
	slices.SortFunc(sorted, order)
	for batch := range batches(l.dialect, sorted) {
		guard := build(l.names, l.consumer, rand.Int64(), batch)
		if err := run(ctx, tx, guard.Exec...); err != nil {
			return nil, wrap(l.dialect, Consumer, "write records", err)
		}
		err := each(ctx, tx, guard.Query, func(rows *sql.Rows) error {
			var id waybill.ID
			if err := rows.Scan(&id); err != nil {
				return err
			}
			fresh[id] = true
			return nil
		})
		if err != nil {
			return nil, wrap(l.dialect, Consumer, "write records", err)
		}
	}
	verdicts := make([]Verdict, len(marks))
	for i, m := range marks {
		if !fresh[m.ID] {
			verdicts[i] = Duplicate
		}
	}
	return verdicts, wrap(l.dialect, Consumer, "read records", refine(ctx, tx, marks, verdicts))
}

// findForgotten turns Fresh into Forgotten for messages below their producer's
// horizon. It reads the horizons after the records were written: Prune commits a
// horizon before it deletes what is below, so a record that was missing because it had
// been pruned shows its horizon here, whatever the timing.
func (l *Ledger) findForgotten(ctx context.Context, tx Session, marks []Mark, verdicts []Verdict) error {
	if mutant.ForgetByClock {
		return nil
	}
	var producers []string
	seen := make(map[string]bool, 2)
	for i, v := range verdicts {
		if v != Fresh || seen[marks[i].Producer] {
			continue
		}
		for _, source := range sourcesOf(marks[i].Producer) {
			if !seen[source] {
				seen[source] = true
				producers = append(producers, source)
			}
		}
	}
	if len(producers) == 0 {
		return nil
	}
	horizons, err := l.horizons(ctx, readerOn(tx), producers)
	if err != nil {
		return err
	}
	for _, h := range horizons {
		for i, v := range verdicts {
			if v == Fresh && marks[i].ID.Compare(h.ID) < 0 && slices.Contains(sourcesOf(marks[i].Producer), h.Producer) {
				verdicts[i] = Forgotten
			}
		}
	}
	return nil
}

// latestKey is a key of RecordLatest.
type latestKey struct {
	destination string
	topic       bool
	key         string
}

func (m Mark) latestKey() latestKey { return latestKey{m.Destination, m.Topic, m.Key} }

// readLatest calls yield with what is recorded for the marks' keys.
func (l *Ledger) readLatest(ctx context.Context, tx Session, marks []Mark, yield func(k latestKey, id waybill.ID)) error {
	for batch := range batches(l.dialect, marks) {
		err := each(ctx, tx, l.dialect.LatestIDs(l.names, l.consumer, batch), func(rows *sql.Rows) error {
			var k latestKey
			var id waybill.ID
			if err := rows.Scan(&k.destination, &k.topic, &k.key, &id); err != nil {
				return err
			}
			yield(k, id)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// latestReader is readLatest or readLatestUntyped.
type latestReader func(ctx context.Context, tx Session, marks []Mark, yield func(k latestKey, id waybill.ID)) error

// findSuperseded turns Duplicate into Superseded where another message's record
// stands for the mark's key.
func (l *Ledger) findSuperseded(read latestReader) refinement {
	return func(ctx context.Context, tx Session, marks []Mark, verdicts []Verdict) error {
		return l.supersede(ctx, tx, marks, verdicts, read)
	}
}

func (l *Ledger) supersede(ctx context.Context, tx Session, marks []Mark, verdicts []Verdict, read latestReader) error {
	var known []Mark
	for i, v := range verdicts {
		if v == Duplicate {
			known = append(known, marks[i])
		}
	}
	if len(known) == 0 {
		return nil
	}
	recorded := make(map[latestKey]waybill.ID, len(known))
	err := read(ctx, tx, known, func(k latestKey, id waybill.ID) { recorded[k] = id })
	if err != nil {
		return err
	}
	for i, v := range verdicts {
		if v != Duplicate {
			continue
		}
		applied := recorded[marks[i].latestKey()]
		if applied == marks[i].ID {
			continue
		}
		verdicts[i] = Superseded
		if l.superseded != nil {
			l.superseded(marks[i], applied)
		}
	}
	return nil
}
