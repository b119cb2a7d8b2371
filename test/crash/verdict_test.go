package crash

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// state is a state of an order.
type state struct {
	id      string
	version int
	token   string
}

// judge compares the two databases.
func (j *journey) judge(ctx context.Context) error {
	var problems []error
	problem := func(kind string, all ...string) {
		if len(all) > 0 {
			problems = append(problems, fmt.Errorf("%d %s: %s", len(all), kind, strings.Join(all, ", ")))
		}
	}
	texts := func(db *sql.DB, text string) []string {
		found, err := query(ctx, db, text, func(rows *sql.Rows) (s string, err error) {
			err = rows.Scan(&s)
			return s, err
		})
		problems = append(problems, err)
		return found
	}
	states := func(db *sql.DB, text string) []state {
		found, err := query(ctx, db, text, func(rows *sql.Rows) (s state, err error) {
			err = rows.Scan(&s.id, &s.version, &s.token)
			return s, err
		})
		problems = append(problems, err)
		return found
	}

	// Each message that asks to be rejected is, and nothing else is left.
	troubles := texts(j.shop, `SELECT id FROM troubles`)
	left := texts(j.shop, `SELECT destination || ' ' || CAST(message_content AS text) || ', status ' || status || ', ' || retry || ' copies, ' || coalesce(last_error, '')
		FROM qmessage WHERE NOT (status = 2 AND CAST(message_content AS text) LIKE 'reject %')`)
	problem("left over", left...)
	if rejected := texts(j.shop, `SELECT message_id FROM qmessage WHERE status = 2`); len(rejected) != len(troubles) {
		problem("rejected, which is not as many as there were to be", rejected...)
	}

	payments := texts(j.shop, `SELECT id FROM payments`)
	expected := slices.Concat(payments, troubles)
	done := slices.Concat(texts(j.depot, `SELECT id FROM payment_effects`), texts(j.depot, `SELECT id FROM trouble_effects`))
	problem("lost", subtract(expected, done)...)
	problem("doubled or phantom", subtract(done, expected)...)

	committed := map[state]bool{}
	newest, last := map[string]state{}, map[string]state{}
	for _, s := range states(j.shop, `SELECT id, version, token FROM order_states ORDER BY id, version`) {
		committed[s], newest[s.id] = true, s
	}
	for _, s := range states(j.depot, `SELECT id, version, token FROM order_effects ORDER BY n`) {
		switch before := last[s.id]; {
		case !committed[s]:
			problem("phantom", fmt.Sprint(s))
		case s.version == before.version:
			problem("doubled", fmt.Sprint(s))
		case s.version < before.version:
			problem("stale", fmt.Sprintf("%v after %v", s, before))
		}
		last[s.id] = s
	}
	for id, want := range newest {
		if last[id] != want {
			problem("lost", fmt.Sprintf("%v, the consumer holds %v", want, last[id]))
		}
	}
	if len(payments) == 0 || len(committed) == 0 {
		problem("journeys without a message", "this one")
	}
	return errors.Join(problems...)
}

// subtract returns what is in all and not in without, each as often as that is.
func subtract(all, without []string) (rest []string) {
	times := map[string]int{}
	for _, s := range without {
		times[s]++
	}
	for _, s := range all {
		if times[s]--; times[s] < 0 {
			rest = append(rest, s)
		}
	}
	return rest
}

func query[T any](ctx context.Context, db *sql.DB, text string, scan func(*sql.Rows) (T, error)) (all []T, err error) {
	rows, err := db.QueryContext(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	defer rows.Close()
	for rows.Next() {
		x, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		all = append(all, x)
	}
	return all, rows.Err()
}

func count(ctx context.Context, db *sql.DB, text string) (n int, err error) {
	if err := db.QueryRowContext(ctx, text).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s: %w", text, err)
	}
	return n, nil
}
