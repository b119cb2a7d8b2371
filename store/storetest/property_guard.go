package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// guards is the state of one sequence: the messages that there are, and what each
// consumer's tables should hold.
type guards struct {
	*suite
	t        *rapid.T
	pool     []store.Mark
	ledgers  map[string]*store.Ledger
	expected map[string]*records
}

// guardProperty: two consumers guard messages of three producers in transactions that
// commit or roll back, one after the other or two at a time, and forget.
func guardProperty(t *rapid.T, s *suite) {
	for _, table := range []string{s.names.Once, s.names.Latest, s.names.Horizon} {
		must(t, s.exec(s.db, `DELETE FROM `+table))
	}
	g := &guards{suite: s, t: t, ledgers: map[string]*store.Ledger{}, expected: map[string]*records{}}
	for _, name := range []string{consumer, "Shipping"} {
		ledger, err := store.NewLedger(s.db, s.dialect, "", name)
		must(t, err)
		g.ledgers[name], g.expected[name] = ledger, newRecords()
	}
	for n := range rapid.IntRange(2, 12).Draw(t, "messages") {
		g.pool = append(g.pool, store.Mark{
			ID:          idOf(minutes.Draw(t, "minute"), n),
			Producer:    producers.Draw(t, "producer"),
			Destination: somewhere("orders", "Orders").Draw(t, "destination"),
			Key:         somewhere("k", "K", "k ", `k"\'`).Draw(t, "key"),
			TimeStamp:   rapid.SampledFrom([]int64{1, 2, 3, 1<<63 - 1}).Draw(t, "time stamp"),
		})
	}
	t.Repeat(map[string]func(*rapid.T){
		"":                      g.compare,
		"a transaction":         func(t *rapid.T) { g.alone(g.transaction("", 3)) },
		"two transactions":      func(t *rapid.T) { g.race(g.transaction("first ", 1), g.transaction("second ", 1)) },
		"a producer's floor":    g.floor,
		"records are forgotten": g.prune,
	})
}

var producers = somewhere("p", "P", "p ")

// guarding is a transaction: some guards, and how it ends.
type guarding struct {
	consumer string
	calls    []guardCall
	commits  bool
}

type guardCall struct {
	level waybill.Level
	marks []store.Mark
}

// transaction draws one. Two that race have one guard each, as the inbox's do: with
// more they could wait for each other, and databases take a second to see it.
func (g *guards) transaction(label string, most int) guarding {
	return guarding{
		consumer: somewhere(consumer, "Shipping").Draw(g.t, label+"consumer"),
		calls:    rapid.SliceOfN(rapid.Custom(g.call), 1, most).Draw(g.t, label+"guards"),
		commits:  rapid.Float64().Draw(g.t, label+"ends") < 0.8,
	}
}

// call draws a guard and its marks, each id once or, for Latest, each key once.
func (g *guards) call(t *rapid.T) guardCall {
	level := rapid.SampledFrom([]waybill.Level{waybill.Once, waybill.Latest}).Draw(t, "level")
	marks := rapid.SliceOfNDistinct(rapid.SampledFrom(g.pool), 0, 5, func(m store.Mark) string {
		if level == waybill.Once {
			return m.ID.String()
		}
		return fmt.Sprintf("%q %q", m.Destination, m.Key)
	}).Draw(t, "marks")
	return guardCall{level, marks}
}

// run does a transaction in the database, again where it loses to another one. A
// message that is forgotten rolls it back, as the inbox does.
func (g *guards) run(ctx context.Context, x guarding) ([][]store.Verdict, error) {
	ledger := g.ledgers[x.consumer]
	for {
		verdicts, err := g.attempt(ctx, ledger, x)
		switch {
		case err == nil, errors.Is(err, errUndo):
			return verdicts, nil
		case ledger.Condition(err) != store.Conflict:
			return nil, err
		}
	}
}

func (g *guards) attempt(ctx context.Context, ledger *store.Ledger, x guarding) ([][]store.Verdict, error) {
	tx, err := ledger.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	verdicts := make([][]store.Verdict, len(x.calls))
	for i, call := range x.calls {
		record := ledger.RecordOnce
		if call.level == waybill.Latest {
			record = ledger.RecordLatest
		}
		if verdicts[i], err = record(ctx, tx, call.marks); err != nil {
			return nil, err
		}
		if slices.Contains(verdicts[i], store.Forgotten) {
			return verdicts[:i+1], errUndo
		}
	}
	if !x.commits {
		return verdicts, errUndo
	}
	return verdicts, tx.Commit()
}

// foresee does the same to a copy of what is expected.
func (g *guards) foresee(before map[string]*records, x guarding) (verdicts [][]store.Verdict, after map[string]*records) {
	changed := before[x.consumer].clone()
	after = maps.Clone(before)
	after[x.consumer] = changed
	for _, call := range x.calls {
		v := changed.record(call.level, call.marks)
		verdicts = append(verdicts, v)
		if slices.Contains(v, store.Forgotten) {
			return verdicts, before
		}
	}
	if !x.commits {
		return verdicts, before
	}
	return verdicts, after
}

func (g *guards) alone(x guarding) {
	got, err := g.run(g.Context(), x)
	must(g.t, err)
	want, after := g.foresee(g.expected, x)
	if !sameVerdicts(got, want) {
		g.t.Fatalf("verdicts %v, want %v", got, want)
	}
	g.expected = after
}

// race: of two transactions at a time, one came first.
func (g *guards) race(a, b guarding) {
	var got [2][][]store.Verdict
	must(g.t, together(2, func(i int) (err error) {
		got[i], err = g.run(g.Context(), []guarding{a, b}[i])
		return err
	}))
	firstA, afterA := g.foresee(g.expected, a)
	secondB, afterAB := g.foresee(afterA, b)
	if sameVerdicts(got[0], firstA) && sameVerdicts(got[1], secondB) {
		g.expected = afterAB
		return
	}
	firstB, afterB := g.foresee(g.expected, b)
	secondA, afterBA := g.foresee(afterB, a)
	if sameVerdicts(got[0], secondA) && sameVerdicts(got[1], firstB) {
		g.expected = afterBA
		return
	}
	g.t.Fatalf("verdicts %v and %v; want %v and %v, or %v and %v", got[0], got[1], firstA, secondB, secondA, firstB)
}

func (g *guards) floor(t *rapid.T) {
	name, producer := somewhere(consumer, "Shipping").Draw(t, "consumer"), producers.Draw(t, "producer")
	var floor waybill.ID
	if rapid.Bool().Draw(t, "is known") {
		floor = idOf(minutes.Draw(t, "minute"), rapid.IntRange(0, 12).Draw(t, "n"))
	}
	must(t, g.ledgers[name].SaveFloor(t.Context(), producer, floor))
	g.expected[name].tell(producer, floor)
}

func (g *guards) prune(t *rapid.T) {
	name := somewhere(consumer, "Shipping").Draw(t, "consumer")
	retention := time.Duration(rapid.IntRange(0, 5).Draw(t, "retention")) * time.Minute
	now := minute(minutes.Draw(t, "now"))
	gone, err := g.ledgers[name].Prune(t.Context(), now, retention, rapid.IntRange(1, 4).Draw(t, "limit"))
	must(t, err)
	if want := g.expected[name].forget(now.Add(-retention)); gone != want {
		t.Fatalf("%d records are gone, want %d", gone, want)
	}
}

// compare compares the tables with what is expected.
func (g *guards) compare(t *rapid.T) {
	for name, want := range g.expected {
		horizons, err := g.ledgers[name].Horizons(t.Context())
		must(t, err)
		if want := want.horizons(); !slices.Equal(horizons, want) {
			t.Fatalf("%s: horizons\n%+v, want\n%+v", name, horizons, want)
		}
		once, latest := map[waybill.ID]store.Mark{}, map[place]store.Mark{}
		must(t, g.marks(t.Context(), `SELECT message_id, producer, '', '', time_stamp FROM {n1_record} WHERE consumer = ?`, name,
			func(m store.Mark) { once[m.ID] = m }))
		must(t, g.marks(t.Context(), `SELECT message_id, producer, dest_name, business_mark, time_stamp FROM {n2_record} WHERE consumer = ?`, name,
			func(m store.Mark) { latest[place{m.Destination, m.Key}] = m }))
		if !maps.Equal(once, want.once) {
			t.Fatalf("%s: n1_record holds\n%v, want\n%v", name, once, want.once)
		}
		if !maps.Equal(latest, want.latest) {
			t.Fatalf("%s: n2_record holds\n%v, want\n%v", name, latest, want.latest)
		}
	}
}

func (g *guards) marks(ctx context.Context, query, consumer string, take func(store.Mark)) error {
	rows, err := g.db.QueryContext(ctx, g.bind(g.names.SQL(query)), consumer)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var m store.Mark
		if err := rows.Scan(&m.ID, &m.Producer, &m.Destination, &m.Key, &m.TimeStamp); err != nil {
			return err
		}
		take(m)
	}
	return rows.Err()
}

func sameVerdicts(a, b [][]store.Verdict) bool {
	return slices.EqualFunc(a, b, func(a, b []store.Verdict) bool { return slices.Equal(a, b) })
}
