package torture

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// around is for how long before and after a message's effects a history tells what the
// nemesis did.
const around = 3 * time.Second

// history is what is known of the message of a violation.
type history struct {
	*run
	violation
	group   string // of the consumer
	order   string // "" for a transfer or notice
	version int64  // of the order

	ids   map[string]bool // of the messages
	times []time.Time     // at which they took effect
	lines []string
}

// history tells what is known of the message of a violation: what its producer knows,
// what the databases have, and what the nemesis did when it took effect. It is nil for a
// violation that is of no message.
func (r *run) history(ctx context.Context, v violation) ([]string, error) {
	if v.kind == "" || v.ref == "" {
		return nil, nil
	}
	h := &history{run: r, violation: v, group: v.kind, version: v.version, ids: map[string]bool{}, lines: []string{v.text}}
	switch v.kind {
	case transferKind, noticeKind, parcelKind, errandKind:
		h.group = onceGroup
	case auditGroup:
		h.order, h.version = auditedState(v.ref)
	default:
		h.order = v.ref
	}
	for _, step := range []func(context.Context) error{h.tellCommits, h.tellEffects, h.tellRows} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	h.tellEvents()
	return h.lines, nil
}

func (h *history) add(format string, args ...any) {
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

// tellCommits tells what was committed: of an order also the versions before and after.
func (h *history) tellCommits(ctx context.Context) error {
	journal, err := readJournals(h.dir)
	if err != nil {
		return err
	}
	query, args := `SELECT id, 0, message_id FROM {`+h.kind+`} WHERE id = ?`, []any{h.ref}
	if h.order != "" {
		query = `SELECT token, version, message_id FROM {order_state} WHERE id = ? AND version BETWEEN ? AND ? ORDER BY version`
		args = []any{h.order, h.version - 1, h.version + 1}
	}
	return h.producerDB.each(ctx, query, func(rows *sql.Rows) error {
		var token, id string
		var version int64
		err := rows.Scan(&token, &version, &id)
		if h.order == "" {
			token = tokenOf(token)
		}
		if id != "" { // which nobody tells who writes rows with plain SQL
			h.ids[id] = true
		}
		h.add("producer's database: version %d, transaction %s (its producer knows it as %s), message %s", version, token, orNothing(string(journal.fates[token])), id)
		return err
	}, args...)
}

// tellEffects tells what took effect: of an order also the versions before and after.
func (h *history) tellEffects(ctx context.Context) error {
	query, args := `kind = ? AND ref = ?`, []any{h.kind, h.ref}
	if h.ref == h.order {
		query, args = query+` AND version BETWEEN ? AND ?`, append(args, h.version-1, h.version+1)
	}
	return h.consumerDB.each(ctx, `SELECT n, version, token, message_id, sequence, time_stamp, attempt, happened, who FROM {effect} WHERE `+query+` ORDER BY n`, func(rows *sql.Rows) error {
		var n, version, sequence, stamp, attempt, happened int64
		var token, id, who string
		err := rows.Scan(&n, &version, &token, &id, &sequence, &stamp, &attempt, &happened, &who)
		at := time.UnixMicro(happened)
		h.times, h.ids[id] = append(h.times, at), true
		h.add("%s effect %d by %s: version %d, transaction %s, message %s, sequence %d, time stamp %d, attempt %d", h.clock(at), n, who, version, token, id, sequence, stamp, attempt)
		return err
	}, args...)
}

// tellRows tells what Waybill's tables have of the messages.
func (h *history) tellRows(ctx context.Context) error {
	for id := range h.ids {
		for _, x := range []struct {
			d     *database
			table string
		}{{h.producerDB, "qmessage"}, {h.consumerDB, "n1_record"}, {h.consumerDB, "n2_record"}} {
			query, args := `SELECT count(*) FROM {`+x.table+`} WHERE message_id = ?`, []any{id}
			if x.table != "qmessage" {
				query, args = query+` AND consumer = ?`, append(args, consumerName(h.group))
			}
			n, err := x.d.number(ctx, query, args...)
			if err != nil {
				return err
			}
			h.add("message %s: %d rows in %s", id, n, x.table)
		}
	}
	return nil
}

// tellEvents tells what the nemesis did around the times of the effects.
func (h *history) tellEvents() {
	for _, e := range h.events {
		if slices.ContainsFunc(h.times, func(at time.Time) bool { return e.at.Sub(at).Abs() < around }) {
			h.add("%s %s", h.clock(e.at), e.text)
		}
	}
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// clock is a moment of the run, for a person.
func (r *run) clock(at time.Time) string { return fmt.Sprintf("%8.3f s", at.Sub(r.began).Seconds()) }
