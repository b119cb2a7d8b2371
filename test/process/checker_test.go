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

// checker compares the two databases.
type checker struct {
	t                  *testing.T
	producer, consumer *sql.DB

	lost, doubled, stale, phantom []string
}

// check compares the producer's database with the consumer's, which are at rest.
func check(t *testing.T, producer, consumer *sql.DB) {
	t.Helper()
	c := &checker{t: t, producer: producer, consumer: consumer}
	left := c.checkOutbox()
	payments := c.checkPayments()
	states, orders := c.checkOrders()
	for _, x := range []struct {
		name  string
		found []string
	}{{"lost", c.lost}, {"doubled", c.doubled}, {"stale", c.stale}, {"phantom", c.phantom}} {
		if len(x.found) > 0 {
			slices.Sort(x.found)
			t.Errorf("got %d %s, want none: %q", len(x.found), x.name, x.found[:min(len(x.found), 10)])
		}
	}
	t.Logf("%d payments and %d states of %d orders committed; %d order effects; lost %d, doubled %d, stale %d, phantom %d, left over %d",
		payments, states, orders, countRows(t, consumer, "order_effects"), len(c.lost), len(c.doubled), len(c.stale), len(c.phantom), left)
	if payments == 0 || states == 0 {
		t.Errorf("got %d payments and %d states of orders, want some of each", payments, states)
	}
}

// checkOutbox: nothing is left. It returns how many rows are.
func (c *checker) checkOutbox() int64 {
	c.t.Helper()
	for _, r := range query(c.t, c.producer, `SELECT message_id::text, destination, status, retry, coalesce(last_error, '') FROM qmessage ORDER BY id LIMIT 10`, func(rows *sql.Rows) (string, error) {
		var id, destination, reason string
		var status, copies int
		err := rows.Scan(&id, &destination, &status, &copies, &reason)
		return fmt.Sprintf("%s to %s, status %d, %d copies %s", id, destination, status, copies, reason), err
	}) {
		c.t.Errorf("got a row left over, want none: %s", r)
	}
	return countRows(c.t, c.producer, "qmessage")
}

// checkPayments: each has one effect, and there are no others. It returns how many were
// committed.
func (c *checker) checkPayments() int {
	c.t.Helper()
	payments := query(c.t, c.producer, `SELECT id FROM payments`, scanText)
	paid := map[string]int{}
	for _, id := range query(c.t, c.consumer, `SELECT id FROM payment_effects`, scanText) {
		paid[id]++
	}
	for _, id := range payments {
		switch paid[id] {
		case 0:
			c.lost = append(c.lost, id)
		case 1:
		default:
			c.doubled = append(c.doubled, id)
		}
		delete(paid, id)
	}
	for id := range paid {
		c.phantom = append(c.phantom, id)
	}
	return len(payments)
}

// checkOrders: no state takes effect twice and none after a newer one, and the newest one
// is there at the end. It returns how many states of how many orders were committed.
func (c *checker) checkOrders() (states, orders int) {
	c.t.Helper()
	committed := map[state]bool{}
	newest := map[string]state{}
	for _, s := range query(c.t, c.producer, `SELECT id, version, token FROM order_states ORDER BY id, version`, scanState) {
		committed[s] = true
		newest[s.id] = s
	}
	last := map[string]state{}
	for _, s := range query(c.t, c.consumer, `SELECT id, version, token FROM order_effects ORDER BY n`, scanState) {
		before := last[s.id]
		switch {
		case !committed[s]:
			c.phantom = append(c.phantom, fmt.Sprint(s))
		case s.version == before.version:
			c.doubled = append(c.doubled, fmt.Sprint(s))
		case s.version < before.version:
			c.stale = append(c.stale, fmt.Sprintf("%v after %v", s, before))
		}
		last[s.id] = s
	}
	held := map[string]state{}
	for _, s := range query(c.t, c.consumer, `SELECT id, version, token FROM order_state`, scanState) {
		held[s.id] = s
	}
	for id, want := range newest {
		if held[id] != want {
			c.lost = append(c.lost, fmt.Sprintf("%v, the consumer holds %v", want, held[id]))
		}
	}
	return len(committed), len(newest)
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

func countRows(t *testing.T, db *sql.DB, table string) int64 {
	t.Helper()
	var n int64
	if err := db.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
