package torture

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Checkers are the verdict's parts: what each of them looks for.
var Checkers = []Fault{
	{"lost", "committed, without an effect, and no newer state in its place"},
	{"doubled", "with more than one effect"},
	{"stale", "effects that overwrote a newer state"},
	{"phantom", "effects, or rows, of a transaction that was rolled back or never was"},
	{"leftover", "messages still in the outbox after everything was mended"},
	{"sequence", "states whose sequence or time stamp is not in the order of their commits"},
	{"conservation", "accounts that do not agree with the transfers"},
	{"unsaved", "transactions whose COMMIT succeeded and that their database does not have"},
}

// verdict is what comparing the journals and the two databases says. No counter of
// Waybill's goes into it.
type verdict struct {
	Sent       int64 // messages committed
	Applied    int64 // of these, with an effect
	Superseded int64 // without one, rightly: a newer state of their order has taken effect
	Unkept     int64 // notices that a broker which was to lose things has lost
	RolledBack int64 // transactions
	Unknown    int64 // transactions whose producer was not told how they ended
	Broken     map[string]int64
	Findings   []finding
}

// finding is one thing that is wrong.
type finding struct {
	checker string
	text    string
	kind    string // of the effect; "" for none
	ref     string // its name
	version int64  // of an order's state that is to be held
}

// maxFindings bounds the findings that are named one by one.
const maxFindings = 20

func (v *verdict) ok() bool { return len(v.Broken) == 0 }

func (v *verdict) find(f finding) {
	v.Broken[f.checker]++
	if v.Broken[f.checker] <= maxFindings/4 || len(v.Findings) < maxFindings {
		v.Findings = append(v.Findings, f)
	}
}

// state is a state of an order.
type state struct {
	id      string
	version int64
}

// effect is what a message did at the consumer.
type effect struct {
	n                   int64
	token               string
	sequence, timeStamp int64
}

// inquest compares.
type inquest struct {
	verdict
	journal   map[string]fate
	transfers map[string]bool  // all that were committed
	notices   map[string]bool  // all that were committed
	states    map[state]string // all that were committed, with their tokens
	tokens    map[string]bool  // transactions that the producer's database has
	newest    map[string]int64 // version by order
}

// judge reads the journals and both databases, which are at rest, and compares.
func (r *run) judge(ctx context.Context) (*verdict, error) {
	q := &inquest{
		verdict:   verdict{Broken: map[string]int64{}},
		transfers: map[string]bool{}, notices: map[string]bool{}, states: map[state]string{}, tokens: map[string]bool{}, newest: map[string]int64{},
	}
	var err error
	if q.journal, err = readJournals(r.dir); err != nil {
		return nil, err
	}
	steps := []func(context.Context, *run) error{q.readProducer, q.judgeTransfers, q.judgeNotices, q.judgeOrders, q.judgeAudit, q.judgeAccounts, q.judgeOutbox}
	for _, step := range steps {
		if err := step(ctx, r); err != nil {
			return nil, fmt.Errorf("compare the databases: %w", err)
		}
	}
	q.judgeJournals()
	return &q.verdict, nil
}

// readProducer reads what was committed.
func (q *inquest) readProducer(ctx context.Context, r *run) error {
	for table, all := range map[string]map[string]bool{"transfer": q.transfers, "notice": q.notices} {
		err := r.producerBooks.each(ctx, `SELECT id FROM {`+table+`}`, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			all[id] = true
			q.tokens[tokenOf(id)] = true
			return err
		})
		if err != nil {
			return err
		}
	}
	err := r.producerBooks.each(ctx, `SELECT id, version, token FROM {order_state}`, func(rows *sql.Rows) error {
		var s state
		var token string
		err := rows.Scan(&s.id, &s.version, &token)
		q.states[s] = token
		q.tokens[token] = true
		q.newest[s.id] = max(q.newest[s.id], s.version)
		return err
	})
	q.Sent = int64(len(q.transfers) + len(q.notices) + len(q.states))
	return err
}

// tokenOf is the transaction of a transfer or notice.
func tokenOf(id string) string { return id[:max(strings.LastIndexByte(id, '-'), 0)] }

// judgeTransfers: each has one effect, and there are no others.
func (q *inquest) judgeTransfers(ctx context.Context, r *run) error {
	applied, err := q.judgeOnce(ctx, r, "transfer", q.transfers, true)
	q.Applied += applied
	return err
}

// judgeNotices: none has two effects, and where the broker keeps its word each has one.
func (q *inquest) judgeNotices(ctx context.Context, r *run) error {
	trusted := r.brokerIsTrusted()
	applied, err := q.judgeOnce(ctx, r, "notice", q.notices, trusted)
	q.Applied += applied
	if !trusted {
		q.Unkept = int64(len(q.notices)) - applied
	}
	return err
}

// judgeAudit: the topic's second consumer has each state of a public order once.
func (q *inquest) judgeAudit(ctx context.Context, r *run) error {
	public := map[string]bool{}
	for s := range q.states {
		if isPublic(s.id) {
			public[auditRef(s)] = true
		}
	}
	_, err := q.judgeOnce(ctx, r, auditGroup, public, true)
	return err
}

// judgeOnce returns how many of those that were committed have an effect.
func (q *inquest) judgeOnce(ctx context.Context, r *run, kind string, committed map[string]bool, mustArrive bool) (applied int64, err error) {
	seen := make(map[string]bool, len(committed))
	err = r.consumerBooks.each(ctx, `SELECT ref FROM {effect} WHERE kind = ? ORDER BY n`, func(rows *sql.Rows) error {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		switch {
		case !committed[id]:
			q.find(finding{"phantom", fmt.Sprintf("%s %s took effect and was never committed", kind, id), kind, id, 0})
		case seen[id]:
			q.find(finding{"doubled", fmt.Sprintf("%s %s took effect twice", kind, id), kind, id, 0})
		default:
			applied++
		}
		seen[id] = true
		return nil
	}, kind)
	if err != nil || !mustArrive {
		return applied, err
	}
	for _, id := range slices.Sorted(maps.Keys(committed)) {
		if !seen[id] {
			q.find(finding{"lost", fmt.Sprintf("%s %s was committed and took no effect", kind, id), kind, id, 0})
		}
	}
	return applied, nil
}

// judgeOrders: no state takes effect twice and none after a newer one, and the newest
// one is held.
func (q *inquest) judgeOrders(ctx context.Context, r *run) error {
	held := map[string]int64{}
	err := r.consumerBooks.each(ctx, `SELECT id, version FROM {held}`, func(rows *sql.Rows) error {
		var s state
		err := rows.Scan(&s.id, &s.version)
		held[s.id] = s.version
		return err
	})
	if err != nil {
		return err
	}
	seen := make(map[state]bool, len(q.states))
	last := map[string]effect{} // by order, the newest one so far
	newest := map[string]int64{}
	err = r.consumerBooks.each(ctx, `SELECT n, kind, ref, version, token, sequence, time_stamp FROM {effect} WHERE kind IN (?, ?) ORDER BY n`, func(rows *sql.Rows) error {
		var s state
		var e effect
		var keeper string
		if err := rows.Scan(&e.n, &keeper, &s.id, &s.version, &e.token, &e.sequence, &e.timeStamp); err != nil {
			return err
		}
		before := last[s.id]
		found := func(checker, text string) {
			q.find(finding{checker, fmt.Sprintf("version %d of %s %s", s.version, s.id, text), keeper, s.id, s.version})
		}
		token, committed := q.states[s]
		switch {
		case !committed || token != e.token:
			found("phantom", fmt.Sprintf("(transaction %s) took effect and was never committed", e.token))
		case keeper != keeperOf(s.id):
			found("phantom", "took effect at "+keeper+", to which it was not sent")
		case seen[s]:
			found("doubled", "took effect twice")
		case s.version < newest[s.id]:
			found("stale", fmt.Sprintf("took effect after version %d", newest[s.id]))
		case e.sequence != s.version:
			found("sequence", fmt.Sprintf("has the sequence %d", e.sequence))
		case e.timeStamp <= before.timeStamp:
			found("sequence", fmt.Sprintf("has the time stamp %d, and an older one %d", e.timeStamp, before.timeStamp))
		}
		seen[s] = true
		if s.version > newest[s.id] {
			newest[s.id], last[s.id] = s.version, e
		}
		return nil
	}, latestGroup, mirrorGroup)
	if err != nil {
		return err
	}
	for s := range q.states {
		if seen[s] {
			q.Applied++
		} else if s.version < newest[s.id] {
			q.Superseded++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(q.newest)) {
		want, have := q.newest[id], held[id]
		if have > want {
			q.find(finding{"phantom", fmt.Sprintf("the consumer holds version %d of %s, and the newest one is %d", have, id, want), keeperOf(id), id, have})
		}
		// What is held and what took effect were written in one transaction.
		if have = min(have, newest[id]); have < want {
			q.find(finding{"lost", fmt.Sprintf("version %d of %s was committed, and the consumer has version %d", want, id, have), keeperOf(id), id, want})
		}
	}
	return nil
}

// judgeAccounts: both sides hold the same, and no money was made or lost.
func (q *inquest) judgeAccounts(ctx context.Context, r *run) error {
	read := func(b *books, table string) (map[string]int64, int64, error) {
		balances, sum := map[string]int64{}, int64(0)
		err := b.each(ctx, `SELECT id, balance FROM {`+table+`}`, func(rows *sql.Rows) error {
			var id string
			var balance int64
			err := rows.Scan(&id, &balance)
			balances[id] = balance
			sum += balance
			return err
		})
		return balances, sum, err
	}
	theirs, sum, err := read(r.producerBooks, "account")
	if err != nil {
		return err
	}
	ours, ourSum, err := read(r.consumerBooks, "book")
	if err != nil {
		return err
	}
	const total = accounts * openingBalance
	for _, x := range []struct {
		side string
		sum  int64
	}{{"producer", sum}, {"consumer", ourSum}} {
		if x.sum != total {
			q.find(finding{checker: "conservation", text: fmt.Sprintf("the %s's accounts hold %d in all, and began with %d", x.side, x.sum, total)})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(theirs)) {
		if theirs[id] != ours[id] {
			q.find(finding{checker: "conservation", text: fmt.Sprintf("%s holds %d at the producer and %d at the consumer", id, theirs[id], ours[id])})
		}
	}
	return nil
}

// judgeOutbox: nothing is left.
func (q *inquest) judgeOutbox(ctx context.Context, r *run) error {
	return r.producerBooks.each(ctx, `SELECT message_id, destination, status, retry, coalesce(last_error, '') FROM {qmessage} ORDER BY id`, func(rows *sql.Rows) error {
		var id, destination, reason string
		var status, copies int
		if err := rows.Scan(&id, &destination, &status, &copies, &reason); err != nil {
			return err
		}
		q.find(finding{checker: "leftover", text: fmt.Sprintf("message %s to %s: status %d, %d copies sent again, last error %q", id, destination, status, copies, reason)})
		return nil
	})
}

// judgeJournals compares what the producers know with what their database has.
func (q *inquest) judgeJournals() {
	for _, token := range slices.Sorted(maps.Keys(q.journal)) {
		switch f := q.journal[token]; {
		case f == committed && !q.tokens[token]:
			q.find(finding{checker: "unsaved", text: fmt.Sprintf("transaction %s was committed, and its database does not have it", token)})
		case f == rolledBack && q.tokens[token]:
			q.find(finding{checker: "phantom", text: fmt.Sprintf("transaction %s was rolled back, and its database has it", token)})
		case f == rolledBack:
			q.RolledBack++
		case f == unknown || f == begun:
			q.Unknown++
		}
	}
	for token := range q.tokens {
		if _, known := q.journal[token]; !known {
			q.find(finding{checker: "phantom", text: fmt.Sprintf("the database has transaction %s, for which its producer never sent a COMMIT", token)})
		}
	}
}
