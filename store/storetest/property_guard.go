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
		ledger, err := store.NewLedger(s.engine, s.dialect, "", name)
		must(t, err)
		g.ledgers[name], g.expected[name] = ledger, newRecords()
	}
	// States are stamped with versions alone, or with times alone, or with both.
	stamps := rapid.SampledFrom([][]int64{
		{1, 2, 3, 1<<63 - 1}, {longAgo, longAgo + 1, longAgo + 2, time.Now().UnixMicro()}, {3, longAgo, longAgo + 1},
	}).Draw(t, "time stamps")
	for n := range rapid.IntRange(2, 12).Draw(t, "messages") {
		g.pool = append(g.pool, store.Mark{
			ID:          idOf(minutes.Draw(t, "minute"), n),
			Producer:    producers.Draw(t, "producer"),
			Destination: oneOf("orders", "Orders").Draw(t, "destination"),
			Topic:       rapid.Bool().Draw(t, "topic"),
			Key:         oneOf("k", "K", "k ", `k"\'`).Draw(t, "key"),
			TimeStamp:   rapid.SampledFrom(stamps).Draw(t, "time stamp"),
		})
	}
	t.Repeat(map[string]func(*rapid.T){
		"":                      g.compare,
		"a transaction":         func(t *rapid.T) { g.runAlone(g.transaction("", 3)) },
		"two transactions":      func(t *rapid.T) { g.runBoth(g.transaction("first ", 1), g.transaction("second ", 1)) },
		"a producer's floor":    g.floor,
		"records are forgotten": g.prune,
		"states are forgotten":  g.forgetStates,
	})
}

var producers = oneOf("p", "P", "p ")

// guardTx is a transaction that is drawn: some guards, and how it ends.
type guardTx struct {
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
func (g *guards) transaction(label string, atMost int) guardTx {
	return guardTx{
		consumer: oneOf(consumer, "Shipping").Draw(g.t, label+"consumer"),
		calls:    rapid.SliceOfN(rapid.Custom(g.call), 1, atMost).Draw(g.t, label+"guards"),
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
		return fmt.Sprintf("%q %v %q", m.Destination, m.Topic, m.Key)
	}).Draw(t, "marks")
	return guardCall{level, marks}
}

// run runs a transaction in the database, again where it loses to another one. A
// message that is forgotten rolls it back, as in the inbox.
func (g *guards) run(ctx context.Context, x guardTx) ([][]store.Verdict, error) {
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

func (g *guards) attempt(ctx context.Context, ledger *store.Ledger, x guardTx) ([][]store.Verdict, error) {
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
	return verdicts, tx.Commit(ctx)
}

// predict does the same to a copy of what is expected before it.
func (g *guards) predict(before map[string]*records, x guardTx) (verdicts [][]store.Verdict, after map[string]*records) {
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

// runAlone runs a transaction while no other one is under way.
func (g *guards) runAlone(x guardTx) {
	got, err := g.run(g.Context(), x)
	must(g.t, err)
	want, after := g.predict(g.expected, x)
	if !sameVerdicts(got, want) {
		g.t.Fatalf("got the verdicts %v, want %v", got, want)
	}
	g.expected = after
}

// runBoth runs two transactions at a time, of which one comes first, as far as can be
// told from what they got.
func (g *guards) runBoth(a, b guardTx) {
	var got [2][][]store.Verdict
	must(g.t, concurrently(2, func(i int) (err error) {
		got[i], err = g.run(g.Context(), []guardTx{a, b}[i])
		return err
	}))
	firstA, afterA := g.predict(g.expected, a)
	secondB, afterAB := g.predict(afterA, b)
	if sameVerdicts(got[0], firstA) && sameVerdicts(got[1], secondB) {
		g.expected = afterAB
		return
	}
	firstB, afterB := g.predict(g.expected, b)
	secondA, afterBA := g.predict(afterB, a)
	if sameVerdicts(got[0], secondA) && sameVerdicts(got[1], firstB) {
		g.expected = afterBA
		return
	}
	g.t.Fatalf("got the verdicts %v and %v, want %v and %v, or %v and %v", got[0], got[1], firstA, secondB, secondA, firstB)
}

func (g *guards) floor(t *rapid.T) {
	name, producer := oneOf(consumer, "Shipping").Draw(t, "consumer"), producers.Draw(t, "producer")
	var floor waybill.ID
	if rapid.Bool().Draw(t, "is known") {
		floor = idOf(minutes.Draw(t, "minute"), rapid.IntRange(0, 12).Draw(t, "n"))
	}
	must(t, g.ledgers[name].SaveFloor(t.Context(), producer, floor))
	g.expected[name].saveFloor(producer, floor)
}

func (g *guards) prune(t *rapid.T) {
	name := oneOf(consumer, "Shipping").Draw(t, "consumer")
	retention := time.Duration(rapid.IntRange(0, 5).Draw(t, "retention")) * time.Minute
	now := minute(minutes.Draw(t, "now"))
	got, err := g.ledgers[name].Prune(t.Context(), now, retention, rapid.IntRange(1, 4).Draw(t, "limit"))
	must(t, err)
	if want := g.expected[name].prune(now, retention); got != want {
		t.Fatalf("got %d records deleted, want %d", got, want)
	}
}

func (g *guards) forgetStates(t *rapid.T) {
	name := oneOf(consumer, "Shipping").Draw(t, "consumer")
	now := time.Now()
	got, err := g.ledgers[name].ForgetKeys(t.Context(), now, idleState, rapid.IntRange(1, 4).Draw(t, "limit"))
	must(t, err)
	if want := g.expected[name].forgetStates(now.Add(-idleState).UnixMicro(), now.Add(24*time.Hour).UnixMicro()); got != want {
		t.Fatalf("got %d states forgotten, want %d", got, want)
	}
}

// compare compares the tables with what is expected.
func (g *guards) compare(t *rapid.T) {
	for name, want := range g.expected {
		horizons, err := g.ledgers[name].Horizons(t.Context())
		must(t, err)
		if want := want.horizons(); !slices.Equal(horizons, want) {
			t.Fatalf("%s: got the horizons\n%+v, want\n%+v", name, horizons, want)
		}
		once, latest := map[waybill.ID]store.Mark{}, map[destinationKey]store.Mark{}
		must(t, g.marks(t.Context(), `SELECT message_id, producer, '', 0, '', time_stamp FROM {n1_record} WHERE consumer = ?`, name,
			func(m store.Mark) { once[m.ID] = m }))
		must(t, g.marks(t.Context(), `SELECT message_id, producer, dest_name, dest_type, business_mark, time_stamp FROM {n2_record} WHERE consumer = ? AND dest_name <> ''`, name,
			func(m store.Mark) { latest[destinationKey{m.Destination, m.Topic, m.Key}] = m }))
		if !maps.Equal(once, want.once) {
			t.Fatalf("%s: got in n1_record\n%v, want\n%v", name, once, want.once)
		}
		if !maps.Equal(latest, want.latest) {
			t.Fatalf("%s: got in n2_record\n%v, want\n%v", name, latest, want.latest)
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
		if err := rows.Scan(&m.ID, &m.Producer, &m.Destination, &m.Topic, &m.Key, &m.TimeStamp); err != nil {
			return err
		}
		take(m)
	}
	return rows.Err()
}

func sameVerdicts(a, b [][]store.Verdict) bool {
	return slices.EqualFunc(a, b, func(a, b []store.Verdict) bool { return slices.Equal(a, b) })
}
