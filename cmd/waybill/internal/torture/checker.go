package torture

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checks are what the checker looks for, and where a report has how often it was found.
var checks = []struct {
	name, what string
	count      func(*Report) *int64
}{
	{"lost", "committed, without an effect, and no newer state in its place", func(p *Report) *int64 { return &p.Lost }},
	{"doubled", "with more than one effect", func(p *Report) *int64 { return &p.Doubled }},
	{"stale", "effects that overwrote a newer state", func(p *Report) *int64 { return &p.Stale }},
	{"phantom", "effects, or rows, of a transaction that was rolled back or never was", func(p *Report) *int64 { return &p.Phantom }},
	{"held_up", "states that one of a topic's consumers did not get while the other one was away", func(p *Report) *int64 { return &p.HeldUp }},
	{"leftover", "messages still in the outbox after everything was healed", func(p *Report) *int64 { return &p.Leftover }},
	{"sequence", "messages whose sequence or time stamp is not in the order of their commits", func(p *Report) *int64 { return &p.Sequence }},
	{"altered", "messages whose body, key or headers are not what was sent", func(p *Report) *int64 { return &p.Altered }},
	{"early", "delayed messages that took effect before their time", func(p *Report) *int64 { return &p.Early }},
	{"conservation", "accounts that do not agree with the transfers", func(p *Report) *int64 { return &p.Conservation }},
	{"unsaved", "transactions whose COMMIT succeeded and that their database does not have", func(p *Report) *int64 { return &p.Unsaved }},
	{"unseen", "kinds of messages of which none was committed, or none took effect", func(p *Report) *int64 { return &p.Unseen }},
}

// result is what comparing the journals and the two databases says. No counter of
// Waybill's goes into it.
type result struct {
	Sent       int64 // messages committed
	Applied    int64 // of these, with an effect
	Superseded int64 // without one, rightly: a newer state of their order has taken effect
	Foreign    int64 // foreign messages with an effect
	Unkept     int64 // notices that a broker which was made to lose things has lost
	Undone     int64 // messages that were committed, and are gone since their database was restored
	NotAgain   int64 // effects that are gone since their database was restored, and could not come again
	RolledBack int64 // transactions
	Unknown    int64 // transactions whose producer was not told how they ended
	Broken     map[string]int64
	Violations []violation
}

// violation is one thing that is wrong.
type violation struct {
	check   string
	text    string
	kind    string // of the effect; "" for none
	ref     string // its name
	version int64  // of an order's state
}

// maxViolations bounds the violations that are named one by one.
const maxViolations = 20

func (r *result) ok() bool { return len(r.Broken) == 0 }

func (r *result) add(v violation) {
	r.Broken[v.check]++
	if r.Broken[v.check] <= maxViolations/4 || len(r.Violations) < maxViolations {
		r.Violations = append(r.Violations, v)
	}
}

// state is a state of an order.
type state struct {
	id      string
	version int64
}

// checker compares the journals and both databases, which are at rest.
type checker struct {
	result
	producerDB, consumerDB *database
	trusted                bool // the broker: it has lost nothing that it confirmed
	journal                *knowledge
	clock                  clock
	visits                 map[string]visitor // see run
	committed              *committedMessages // that the producers' database has
	undone                 *undone            // what restores of the databases have taken back
	newest                 map[string]change  // by order: the newest that was committed
	unpaid                 map[string]int64   // by account: what the consumers' balance lacks, or has too much, after a restore
}

// check returns what is wrong, or that nothing is.
func (r *run) check(ctx context.Context) (*result, error) {
	c := &checker{
		result:     result{Broken: map[string]int64{}},
		producerDB: r.producerDB, consumerDB: r.consumerDB, trusted: r.brokerIsTrusted(),
		clock: r.dbClock, visits: r.visits, undone: r.undone, newest: map[string]change{}, unpaid: map[string]int64{},
	}
	var err error
	if c.journal, err = readJournals(r.dir); err != nil {
		return nil, err
	}
	steps := []func(context.Context) error{c.readProducer, c.checkTransfers, c.checkNotices, c.checkParcels, c.checkErrands, c.checkForeign, c.checkKinds, c.checkOrders, c.checkAudit, c.checkStamps, c.checkAccounts, c.checkOutbox}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("compare the databases: %w", err)
		}
	}
	c.checkJournals()
	if err := r.checkSeen(ctx, c); err != nil {
		return nil, fmt.Errorf("look for each kind of message: %w", err)
	}
	if r.heldUp > 0 {
		c.add(violation{check: "held_up", text: fmt.Sprintf("a consumer of the topic had not got %d states that were committed while the other one was away, and got no more", r.heldUp)})
		c.Broken["held_up"] = r.heldUp
	}
	return &c.result, nil
}

// readProducer reads what was committed.
func (c *checker) readProducer(ctx context.Context) (err error) {
	if c.committed, err = c.producerDB.readCommitted(ctx, c.producerDB, ""); err != nil {
		return err
	}
	for s := range c.committed.states {
		if s.version > c.newest[s.id].version {
			c.newest[s.id] = s
		}
	}
	c.Sent = int64(c.committed.count())
	c.Undone = int64(c.undone.messages.count())
	return nil
}

// tokenOf is the transaction of a transfer or notice.
func tokenOf(id string) string { return id[:max(strings.LastIndexByte(id, '-'), 0)] }

// ofKind are the messages of a kind, by the names of their effects.
type ofKind struct {
	committed map[string]bool // all that the producers' database has
	must      map[string]bool // those of them that have to have an effect
	undone    map[string]bool // those that it has lost: they may have one
	again     map[string]bool // those that may have more than one
}

// names are a map's keys.
func names[V any](of map[string]V) map[string]bool {
	all := make(map[string]bool, len(of))
	for name := range of {
		all[name] = true
	}
	return all
}

// checkTransfers: each has one effect, and there are no others.
func (c *checker) checkTransfers(ctx context.Context) error {
	all := names(c.committed.transfers)
	seen, err := c.checkOnce(ctx, transferKind, ofKind{committed: all, must: all, undone: names(c.undone.messages.transfers)})
	for id, m := range c.committed.transfers {
		if !seen[id] && c.isEffectUndone(transferKind, id) {
			c.pay(m, -1)
		}
	}
	for id, m := range c.undone.messages.transfers {
		if seen[id] {
			c.pay(m, 1)
		}
	}
	return err
}

// pay notes that the consumers have paid a transfer that the producers' accounts do not have,
// or, for -1, the other way round, as it is after a restore.
func (c *checker) pay(m move, times int64) {
	c.unpaid[m.source] -= times * m.amount
	c.unpaid[m.target] += times * m.amount
}

// checkParcels: each has arrived once, and with everything that was in it.
func (c *checker) checkParcels(ctx context.Context) error {
	committed, undone := names(c.committed.parcels), names(c.undone.messages.parcels)
	if _, err := c.checkOnce(ctx, parcelKind, ofKind{committed: committed, must: committed, undone: undone}); err != nil {
		return err
	}
	return c.consumerDB.each(ctx, `SELECT ref, digest FROM {effect} WHERE kind = ? ORDER BY n`, func(rows *sql.Rows) error {
		var id, digest string
		err := rows.Scan(&id, &digest)
		if (committed[id] || undone[id]) && digest != c.journal.digests[tokenOf(id)] {
			c.add(violation{"altered", fmt.Sprintf("parcel %s is not what was sent", id), parcelKind, id, 0})
		}
		return err
	}, parcelKind)
}

// checkNotices: none has two effects, and where the broker keeps what it has confirmed each
// has one.
func (c *checker) checkNotices(ctx context.Context) error {
	must := c.committed.notices
	if !c.trusted {
		must = nil
	}
	seen, err := c.checkOnce(ctx, noticeKind, ofKind{committed: c.committed.notices, must: must, undone: c.undone.messages.notices})
	for id := range c.committed.notices {
		if !seen[id] && !c.trusted {
			c.Unkept++
		}
	}
	return err
}

// checkAudit: the topic's second consumer has each state of a public order once.
func (c *checker) checkAudit(ctx context.Context) error {
	public := func(states map[change]bool) map[string]bool {
		all := map[string]bool{}
		for s := range states {
			if isPublic(s.id) {
				all[effectKey(auditGroup, auditRef(s.state), s.token)] = true
			}
		}
		return all
	}
	committed, applied := public(c.committed.states), c.Applied
	_, err := c.checkOnce(ctx, auditGroup, ofKind{committed: committed, must: committed, undone: public(c.undone.messages.states)})
	c.Applied = applied // of a topic's message one effect counts, that of its keeper
	return err
}

// effectKey is what tells a message of a kind from others. Versions of an order may come
// twice, by different transactions.
func effectKey(kind, ref, token string) string {
	if kind == auditGroup {
		return ref + " " + token
	}
	return ref
}

// refOf is the reference in an effect's key.
func refOf(key string) string {
	ref, _, _ := strings.Cut(key, " ")
	return ref
}

// isEffectUndone says whether a message of a kind has had an effect that went with the
// consumers' database.
func (c *checker) isEffectUndone(kind, key string) bool { return c.undone.keys[kind+" "+key] }

// checkOnce returns the keys of the effects of a kind: of the messages that were committed
// none has two, and those that must have one have it, unless a restore has undone it.
func (c *checker) checkOnce(ctx context.Context, kind string, all ofKind) (seen map[string]bool, err error) {
	seen = make(map[string]bool, len(all.committed))
	err = c.consumerDB.each(ctx, `SELECT ref, token FROM {effect} WHERE kind = ? ORDER BY n`, func(rows *sql.Rows) error {
		var ref, token string
		if err := rows.Scan(&ref, &token); err != nil {
			return err
		}
		key := effectKey(kind, ref, token)
		switch {
		case !all.committed[key] && !all.undone[key]:
			c.add(violation{"phantom", fmt.Sprintf("%s %s took effect and was never committed", kind, key), kind, ref, 0})
		case seen[key] && all.again[key]:
		case seen[key]:
			c.add(violation{"doubled", fmt.Sprintf("%s %s took effect twice", kind, key), kind, ref, 0})
		case all.committed[key]:
			c.Applied++
		}
		seen[key] = true
		return nil
	}, kind)
	if err != nil {
		return seen, err
	}
	for _, key := range slices.Sorted(maps.Keys(all.must)) {
		switch {
		case seen[key]:
		case c.isEffectUndone(kind, key):
			c.NotAgain++
		default:
			c.add(violation{"lost", fmt.Sprintf("%s %s was committed and took no effect", kind, key), kind, refOf(key), 0})
		}
	}
	return seen, nil
}

// orderEffect is a state of an order as it took effect at a consumer.
type orderEffect struct {
	change
	place
	group               string // of the consumer
	sequence, timeStamp int64
}

// orderHistory is what has taken effect so far.
type orderHistory struct {
	seen   map[change]bool
	newest map[string]orderEffect // by order
}

// checkOrders: no state takes effect twice and none after a newer one, and the newest one
// is there at the end.
func (c *checker) checkOrders(ctx context.Context) error {
	h := orderHistory{make(map[change]bool, len(c.committed.states)), map[string]orderEffect{}}
	err := c.consumerDB.each(ctx, `SELECT kind, ref, version, token, sequence, time_stamp FROM {effect} WHERE kind IN (?, ?) ORDER BY n`, func(rows *sql.Rows) error {
		var e orderEffect
		if err := rows.Scan(&e.group, &e.id, &e.state.version, &e.token, &e.sequence, &e.timeStamp); err != nil {
			return err
		}
		e.place = c.placeOf(e.change)
		if check, text := c.checkOrderEffect(e, &h); check != "" {
			c.add(violation{check, fmt.Sprintf("version %d of %s %s", e.state.version, e.id, text), e.group, e.id, e.state.version})
		}
		h.seen[e.change] = true
		if h.newest[e.id].before(e.place) {
			h.newest[e.id] = e
		}
		return nil
	}, latestGroup, mirrorGroup)
	if err != nil {
		return err
	}
	for s := range c.committed.states {
		if h.seen[s] {
			c.Applied++
		} else if c.placeOf(s).before(h.newest[s.id].place) {
			c.Superseded++
		}
	}
	return c.checkLatest(ctx, &h)
}

// placeOf is the place of a state among those of its order.
func (c *checker) placeOf(s change) place { return c.undone.place(s.version, s.token) }

// wasCommitted says whether the producers' database has a state, or has lost it.
func (c *checker) wasCommitted(s change) bool {
	return c.committed.states[s] || c.undone.messages.states[s]
}

// checkOrderEffect returns which check an effect does not pass, after those before it, and
// what is wrong; "" for none.
func (c *checker) checkOrderEffect(e orderEffect, h *orderHistory) (check, text string) {
	newest := h.newest[e.id]
	switch {
	case !c.wasCommitted(e.change):
		return "phantom", fmt.Sprintf("(transaction %s) took effect and was never committed", e.token)
	case e.group != keeperOf(e.id):
		return "phantom", "took effect at " + e.group + ", to which it was not sent"
	case h.seen[e.change]:
		return "doubled", "took effect twice"
	case e.place.before(newest.place):
		return "stale", fmt.Sprintf("took effect after version %d", newest.state.version)
	case e.timeStamp <= newest.timeStamp:
		return "sequence", fmt.Sprintf("has the time stamp %d, and an older one %d", e.timeStamp, newest.timeStamp)
	}
	return "", ""
}

// checkLatest: each order is at the consumer what it is at the producer. Where a restore has
// undone a newer state at the producer, that one may be there; and what a restore has undone
// at the consumer may be missing, and older states with it, which it had superseded.
func (c *checker) checkLatest(ctx context.Context, h *orderHistory) error {
	latest := map[string]change{}
	err := c.consumerDB.each(ctx, `SELECT id, version, token FROM {consumer_order}`, func(rows *sql.Rows) error {
		var s change
		err := rows.Scan(&s.id, &s.version, &s.token)
		latest[s.id] = s
		return err
	})
	if err != nil {
		return err
	}
	undone := c.newestUndone()
	all := names(latest)
	maps.Copy(all, names(c.newest))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		have, want := latest[id], c.newest[id]
		if have.version > 0 && !c.wasCommitted(have) {
			c.add(violation{"phantom", fmt.Sprintf("the consumer holds version %d of %s, of transaction %s, which was never committed", have.version, id, have.token), keeperOf(id), id, have.version})
		}
		// What is held and what took effect were written in one transaction.
		held := c.placeOf(have)
		if h.newest[id].place.before(held) || have.version == 0 {
			held = h.newest[id].place
		}
		wanted := c.placeOf(want)
		switch {
		case want.version == 0 || !held.before(wanted):
		case !undone[id].before(wanted):
			c.NotAgain++
		default:
			c.add(violation{"lost", fmt.Sprintf("version %d of %s was committed, and the consumer has version %d", want.version, id, min(have.version, held.version)), keeperOf(id), id, want.version})
		}
	}
	return nil
}

// newestUndone returns by order the newest state that has taken effect at its keeper and
// that a restore has undone there.
func (c *checker) newestUndone() map[string]place {
	newest := map[string]place{}
	for e := range c.undone.effects {
		if at := c.undone.place(e.version, e.token); e.kind == keeperOf(e.ref) && newest[e.ref].before(at) {
			newest[e.ref] = at
		}
	}
	return newest
}

// checkAccounts: both sides hold the same, but for what a restore has undone at one of them,
// and no money was made or lost.
func (c *checker) checkAccounts(ctx context.Context) error {
	theirs, sum, err := c.producerDB.balances(ctx, "account")
	if err != nil {
		return err
	}
	ours, ourSum, err := c.consumerDB.balances(ctx, "consumer_account")
	if err != nil {
		return err
	}
	const all = accounts * openingBalance
	for _, x := range []struct {
		side string
		sum  int64
	}{{"producer", sum}, {"consumer", ourSum}} {
		if x.sum != all {
			c.add(violation{check: "conservation", text: fmt.Sprintf("the %s's accounts hold %d in all, and began with %d", x.side, x.sum, all)})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(theirs)) {
		if theirs[id]+c.unpaid[id] != ours[id] {
			c.add(violation{check: "conservation", text: fmt.Sprintf("%s holds %d at the producer and %d at the consumer, of which restores account for %d", id, theirs[id], ours[id], c.unpaid[id])})
		}
	}
	return nil
}

// balances reads a table of accounts.
func (d *database) balances(ctx context.Context, table string) (balances map[string]int64, sum int64, err error) {
	balances = map[string]int64{}
	err = d.each(ctx, `SELECT id, balance FROM {`+table+`}`, func(rows *sql.Rows) error {
		var id string
		var balance int64
		err := rows.Scan(&id, &balance)
		balances[id] = balance
		sum += balance
		return err
	})
	return balances, sum, err
}

// checkOutbox: nothing is left.
func (c *checker) checkOutbox(ctx context.Context) error {
	return c.producerDB.each(ctx, `SELECT message_id, destination, status, retry, coalesce(last_error, '') FROM {qmessage} ORDER BY id`, func(rows *sql.Rows) error {
		var id, destination, reason string
		var status, copies int
		if err := rows.Scan(&id, &destination, &status, &copies, &reason); err != nil {
			return err
		}
		c.add(violation{check: "leftover", text: fmt.Sprintf("message %s to %s: status %d, %d copies sent again, last error %q", id, destination, status, copies, reason)})
		return nil
	})
}

// checkJournals compares what the producers know with what their database has, or has lost.
func (c *checker) checkJournals() {
	has, had := c.committed.tokens, c.undone.messages.tokens
	for _, token := range slices.Sorted(maps.Keys(c.journal.fates)) {
		switch f := c.journal.fates[token]; {
		case f == committed && !has[token] && !had[token]:
			c.add(violation{check: "unsaved", text: fmt.Sprintf("transaction %s was committed, and its database does not have it", token)})
		case f == rolledBack && (has[token] || had[token]):
			c.add(violation{check: "phantom", text: fmt.Sprintf("transaction %s was rolled back, and its database has it", token)})
		case f == rolledBack:
			c.RolledBack++
		case f == unknown || f == begun:
			c.Unknown++
		}
	}
	for _, tokens := range []map[string]bool{has, had} {
		for token := range tokens {
			if _, known := c.journal.fates[token]; !known {
				c.add(violation{check: "phantom", text: fmt.Sprintf("the database has transaction %s, for which its producer never sent a COMMIT", token)})
			}
		}
	}
}
