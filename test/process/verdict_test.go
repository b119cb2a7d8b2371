package process

import (
	"database/sql"
	"fmt"
	"slices"
	"testing"
)

// state is a state of an order.
type state struct {
	id      string
	version int64
	token   string
}

// judge compares the two databases.
func judge(t *testing.T, producer, consumer *sql.DB) {
	t.Helper()
	left := countEffects(t, producer, "qmessage")
	for _, r := range query(t, producer, `SELECT message_id::text, destination, status, retry, coalesce(last_error, '') FROM qmessage ORDER BY id LIMIT 10`, func(rows *sql.Rows) (string, error) {
		var id, destination, reason string
		var status, copies int
		err := rows.Scan(&id, &destination, &status, &copies, &reason)
		return fmt.Sprintf("%s to %s, status %d, %d copies %s", id, destination, status, copies, reason), err
	}) {
		t.Errorf("left over: %s", r)
	}

	payments := query(t, producer, `SELECT id FROM payments`, scanText)
	paid := map[string]int{}
	for _, id := range query(t, consumer, `SELECT id FROM payment_effects`, scanText) {
		paid[id]++
	}
	var lost, doubled, stale, phantom []string
	for _, id := range payments {
		switch paid[id] {
		case 0:
			lost = append(lost, id)
		case 1:
		default:
			doubled = append(doubled, id)
		}
		delete(paid, id)
	}
	for id := range paid {
		phantom = append(phantom, id)
	}

	committed := map[state]bool{}
	newest := map[string]state{}
	for _, s := range query(t, producer, `SELECT id, version, token FROM order_states ORDER BY id, version`, scanState) {
		committed[s] = true
		newest[s.id] = s
	}
	last := map[string]state{}
	for _, s := range query(t, consumer, `SELECT id, version, token FROM order_effects ORDER BY n`, scanState) {
		before := last[s.id]
		switch {
		case !committed[s]:
			phantom = append(phantom, fmt.Sprint(s))
		case s.version == before.version:
			doubled = append(doubled, fmt.Sprint(s))
		case s.version < before.version:
			stale = append(stale, fmt.Sprintf("%v after %v", s, before))
		}
		last[s.id] = s
	}
	held := map[string]state{}
	for _, s := range query(t, consumer, `SELECT id, version, token FROM order_state`, scanState) {
		held[s.id] = s
	}
	for id, want := range newest {
		if held[id] != want {
			lost = append(lost, fmt.Sprintf("%v, the consumer holds %v", want, held[id]))
		}
	}
	for _, x := range []struct {
		name  string
		found []string
	}{{"lost", lost}, {"doubled", doubled}, {"stale", stale}, {"phantom", phantom}} {
		if len(x.found) > 0 {
			slices.Sort(x.found)
			t.Errorf("%d %s: %q", len(x.found), x.name, x.found[:min(len(x.found), 10)])
		}
	}
	t.Logf("%d payments and %d states of %d orders committed; %d order effects; lost %d, doubled %d, stale %d, phantom %d, left over %d",
		len(payments), len(committed), len(newest), countEffects(t, consumer, "order_effects"), len(lost), len(doubled), len(stale), len(phantom), left)
	if len(payments) == 0 || len(committed) == 0 {
		t.Error("the producer did nothing")
	}
}

func scanText(rows *sql.Rows) (s string, err error) {
	err = rows.Scan(&s)
	return s, err
}

func scanState(rows *sql.Rows) (s state, err error) {
	err = rows.Scan(&s.id, &s.version, &s.token)
	return s, err
}

func query[T any](t *testing.T, db *sql.DB, text string, scan func(*sql.Rows) (T, error)) []T {
	t.Helper()
	rows, err := db.Query(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		x, err := scan(rows)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		all = append(all, x)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return all
}

func countEffects(t *testing.T, db *sql.DB, table string) int64 {
	t.Helper()
	var n int64
	if err := db.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
