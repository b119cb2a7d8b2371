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

// verdict is what is wrong with a journey that is over.
type verdict struct{ problems []error }

// problem notes what is wrong with some things; none is no problem.
func (v *verdict) problem(kind string, things ...string) {
	if len(things) > 0 {
		v.problems = append(v.problems, fmt.Errorf("%d %s: %s", len(things), kind, strings.Join(things, ", ")))
	}
}

// judge compares the two databases.
func (j *journey) judge(ctx context.Context) error {
	var v verdict
	j.judgeRows(ctx, &v)
	payments := j.judgePayments(ctx, &v)
	states := j.judgeOrders(ctx, &v)
	if payments == 0 || states == 0 {
		v.problem("journeys without a message", "this one")
	}
	return errors.Join(v.problems...)
}

// judgeRows looks at the outbox: each message that asks to be rejected is, and nothing
// else is left.
func (j *journey) judgeRows(ctx context.Context, v *verdict) {
	troubles := v.texts(ctx, j.shop, `SELECT id FROM troubles`)
	left := v.texts(ctx, j.shop, `SELECT destination || ' ' || CAST(message_content AS text) || ', status ' || status || ', ' || retry || ' copies, ' || coalesce(last_error, '')
		FROM qmessage WHERE NOT (status = 2 AND CAST(message_content AS text) LIKE 'reject %')`)
	v.problem("left over", left...)
	v.problem("answers left over", v.texts(ctx, j.shop, `SELECT message_id || ' ' || consumer FROM qconfirmed`)...)
	if rejected := v.texts(ctx, j.shop, `SELECT message_id FROM qmessage WHERE status = 2`); len(rejected) != len(troubles) {
		v.problem("rejected, which is not as many as there were to be", rejected...)
	}
}

// judgePayments compares the messages that take effect once, and returns how many
// payments there were.
func (j *journey) judgePayments(ctx context.Context, v *verdict) int {
	news := v.texts(ctx, j.shop, `SELECT 'auditor ' || id FROM news UNION ALL SELECT 'depot ' || id FROM news`)
	told := v.texts(ctx, j.depot, `SELECT id FROM news_effects`)
	v.problem("lost for one of its consumers", subtract(news, told)...)
	v.problem("doubled or phantom for one of its consumers", subtract(told, news)...)
	payments := v.texts(ctx, j.shop, `SELECT id FROM payments`)
	want := slices.Concat(payments, v.texts(ctx, j.shop, `SELECT id FROM troubles`))
	got := slices.Concat(v.texts(ctx, j.depot, `SELECT id FROM payment_effects`), v.texts(ctx, j.depot, `SELECT id FROM trouble_effects`))
	v.problem("lost", subtract(want, got)...)
	v.problem("doubled or phantom", subtract(got, want)...)
	return len(payments)
}

// judgeOrders compares the states of orders, and returns how many were committed.
func (j *journey) judgeOrders(ctx context.Context, v *verdict) int {
	committed := map[state]bool{}
	newest, last := map[string]state{}, map[string]state{}
	for _, s := range v.states(ctx, j.shop, `SELECT id, version, token FROM order_states ORDER BY id, version`) {
		committed[s], newest[s.id] = true, s
	}
	for _, s := range v.states(ctx, j.depot, `SELECT id, version, token FROM order_effects ORDER BY n`) {
		switch before := last[s.id]; {
		case !committed[s]:
			v.problem("phantom", fmt.Sprint(s))
		case s.version == before.version:
			v.problem("doubled", fmt.Sprint(s))
		case s.version < before.version:
			v.problem("stale", fmt.Sprintf("%v after %v", s, before))
		}
		last[s.id] = s
	}
	for id, want := range newest {
		if last[id] != want {
			v.problem("lost", fmt.Sprintf("%v, the consumer holds %v", want, last[id]))
		}
	}
	return len(committed)
}

// texts returns what a query of one column finds; a query that fails is a problem.
func (v *verdict) texts(ctx context.Context, db *sql.DB, text string) []string {
	return ask(ctx, v, db, text, func(rows *sql.Rows) (s string, err error) {
		err = rows.Scan(&s)
		return s, err
	})
}

// states returns the states that a query finds; a query that fails is a problem.
func (v *verdict) states(ctx context.Context, db *sql.DB, text string) []state {
	return ask(ctx, v, db, text, func(rows *sql.Rows) (s state, err error) {
		err = rows.Scan(&s.id, &s.version, &s.token)
		return s, err
	})
}

func ask[T any](ctx context.Context, v *verdict, db *sql.DB, text string, scan func(*sql.Rows) (T, error)) []T {
	found, err := query(ctx, db, text, scan)
	if err != nil {
		v.problems = append(v.problems, err)
	}
	return found
}

// subtract returns what is in all and not in without, each as often as it is there
// more often.
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
