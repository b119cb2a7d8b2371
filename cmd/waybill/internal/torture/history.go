package torture

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// around is how much of the storm before and after a message's effects a history
// shows.
const around = 3 * time.Second

// history tells what is known of the message of a finding: what its producer knows,
// what the databases have, and what the storm did when it took effect.
func (r *run) history(ctx context.Context, f finding) ([]string, error) {
	if f.kind == "" {
		return nil, nil
	}
	lines := []string{f.text}
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	group, order, version := f.kind, "", f.version
	switch f.kind {
	case "transfer", "notice":
		group = onceGroup
	case auditGroup:
		order, version = auditedState(f.ref)
	default:
		order = f.ref
	}
	journal, err := readJournals(r.dir)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	committed := func(query string, args ...any) error {
		return r.producerBooks.each(ctx, query, func(rows *sql.Rows) error {
			var token, id string
			var version int64
			err := rows.Scan(&token, &version, &id)
			if order == "" {
				token = tokenOf(token)
			}
			ids[id] = true
			add("producer's database: version %d, transaction %s (its producer knows it as %s), message %s", version, token, orNothing(string(journal[token])), id)
			return err
		}, args...)
	}
	if order == "" {
		err = committed(`SELECT id, 0, message_id FROM {`+f.kind+`} WHERE id = ?`, f.ref)
	} else {
		err = committed(`SELECT token, version, message_id FROM {order_state} WHERE id = ? AND version BETWEEN ? AND ? ORDER BY version`, order, version-1, version+1)
	}
	if err != nil {
		return nil, err
	}
	var times []time.Time
	query, args := `kind = ? AND ref = ?`, []any{f.kind, f.ref}
	if f.ref == order {
		query, args = query+` AND version BETWEEN ? AND ?`, append(args, version-1, version+1)
	}
	err = r.consumerBooks.each(ctx, `SELECT n, version, token, message_id, sequence, time_stamp, attempt, happened, who FROM {effect} WHERE `+query+` ORDER BY n`, func(rows *sql.Rows) error {
		var n, version, sequence, stamp, attempt, happened int64
		var token, id, who string
		err := rows.Scan(&n, &version, &token, &id, &sequence, &stamp, &attempt, &happened, &who)
		at := time.UnixMicro(happened)
		times, ids[id] = append(times, at), true
		add("%s effect %d by %s: version %d, transaction %s, message %s, sequence %d, time stamp %d, attempt %d", r.clock(at), n, who, version, token, id, sequence, stamp, attempt)
		return err
	}, args...)
	if err != nil {
		return nil, err
	}
	for id := range ids {
		for _, x := range []struct {
			b     *books
			table string
		}{{r.producerBooks, "qmessage"}, {r.consumerBooks, "n1_record"}, {r.consumerBooks, "n2_record"}} {
			query, args := `SELECT count(*) FROM {`+x.table+`} WHERE message_id = ?`, []any{id}
			if x.b == r.consumerBooks {
				query, args = query+` AND consumer = ?`, append(args, consumerName(group))
			}
			n, err := x.b.number(ctx, query, args...)
			if err != nil {
				return nil, err
			}
			add("message %s: %d rows in %s", id, n, x.table)
		}
	}
	for _, e := range r.events {
		if slices.ContainsFunc(times, func(at time.Time) bool { return e.at.Sub(at).Abs() < around }) {
			add("%s %s", r.clock(e.at), e.text)
		}
	}
	return lines, nil
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// clock is a moment of the run, for a person.
func (r *run) clock(at time.Time) string { return fmt.Sprintf("%8.3f s", at.Sub(r.began).Seconds()) }
