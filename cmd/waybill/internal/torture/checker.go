package torture

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checks are what the checker looks for.
var checks = []struct{ name, what string }{
	{"lost", "committed, without an effect, and no newer state in its place"},
	{"doubled", "with more than one effect"},
	{"stale", "effects that overwrote a newer state"},
	{"phantom", "effects, or rows, of a transaction that was rolled back or never was"},
	{"held_up", "states that one of a topic's consumers did not get while the other one was away"},
	{"leftover", "messages still in the outbox after everything was healed"},
	{"sequence", "messages whose sequence or time stamp is not in the order of their commits"},
	{"altered", "messages whose body, key or headers are not what was sent"},
	{"early", "delayed messages that took effect before their time"},
	{"conservation", "accounts that do not agree with the transfers"},
	{"unsaved", "transactions whose COMMIT succeeded and that their database does not have"},
}

// result is what comparing the journals and the two databases says. No counter of
// Waybill's goes into it.
type result struct {
	Sent       int64 // messages committed
	Applied    int64 // of these, with an effect
	Superseded int64 // without one, rightly: a newer state of their order has taken effect
	Foreign    int64 // foreign messages with an effect
	Unkept     int64 // notices that a broker which was made to lose things has lost
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
	visits                 map[string]bool  // see run
	transfers              map[string]bool  // all that were committed
	notices                map[string]bool  // all that were committed
	parcels                map[string]state // all that were committed: their codes, and numbers among these
	states                 map[state]string // all that were committed, with their tokens
	tokens                 map[string]bool  // transactions that the producers' database has
	newest                 map[string]int64 // version by order
}

// check returns what is wrong, or that nothing is.
func (r *run) check(ctx context.Context) (*result, error) {
	c := &checker{
		result:     result{Broken: map[string]int64{}},
		producerDB: r.producerDB, consumerDB: r.consumerDB, trusted: r.brokerIsTrusted(),
		clock: r.dbClock, visits: r.visits,
		transfers: map[string]bool{}, notices: map[string]bool{}, parcels: map[string]state{}, states: map[state]string{}, tokens: map[string]bool{}, newest: map[string]int64{},
	}
	var err error
	if c.journal, err = readJournals(r.dir); err != nil {
		return nil, err
	}
	steps := []func(context.Context) error{c.readProducer, c.checkTransfers, c.checkNotices, c.checkParcels, c.checkForeign, c.checkOrders, c.checkAudit, c.checkStamps, c.checkAccounts, c.checkOutbox}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("compare the databases: %w", err)
		}
	}
	c.checkJournals()
	if r.heldUp > 0 {
		c.add(violation{check: "held_up", text: fmt.Sprintf("a consumer of the topic had not got %d states that were committed while the other one was away, and got no more", r.heldUp)})
		c.Broken["held_up"] = r.heldUp
	}
	return &c.result, nil
}

// readProducer reads what was committed.
func (c *checker) readProducer(ctx context.Context) error {
	for table, all := range map[string]map[string]bool{"transfer": c.transfers, "notice": c.notices} {
		err := c.producerDB.each(ctx, `SELECT id FROM {`+table+`}`, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			all[id] = true
			c.tokens[tokenOf(id)] = true
			return err
		})
		if err != nil {
			return err
		}
	}
	err := c.producerDB.each(ctx, `SELECT id, code, version FROM {parcel}`, func(rows *sql.Rows) error {
		var id string
		var code, version int64
		err := rows.Scan(&id, &code, &version)
		c.parcels[id] = state{parcelKey(code), version}
		c.tokens[tokenOf(id)] = true
		return err
	})
	if err != nil {
		return err
	}
	err = c.producerDB.each(ctx, `SELECT id, version, token FROM {order_state}`, func(rows *sql.Rows) error {
		var s state
		var token string
		err := rows.Scan(&s.id, &s.version, &token)
		c.states[s] = token
		c.tokens[token] = true
		c.newest[s.id] = max(c.newest[s.id], s.version)
		return err
	})
	c.Sent = int64(len(c.transfers) + len(c.notices) + len(c.parcels) + len(c.states))
	return err
}

// tokenOf is the transaction of a transfer or notice.
func tokenOf(id string) string { return id[:max(strings.LastIndexByte(id, '-'), 0)] }

// checkTransfers: each has one effect, and there are no others.
func (c *checker) checkTransfers(ctx context.Context) error {
	applied, err := c.checkOnce(ctx, "transfer", c.transfers, c.transfers)
	c.Applied += applied
	return err
}

// checkParcels: each has arrived once, and with everything that was in it.
func (c *checker) checkParcels(ctx context.Context) error {
	committed := make(map[string]bool, len(c.parcels))
	for id := range c.parcels {
		committed[id] = true
	}
	applied, err := c.checkOnce(ctx, "parcel", committed, committed)
	c.Applied += applied
	if err != nil {
		return err
	}
	return c.consumerDB.each(ctx, `SELECT ref, digest FROM {effect} WHERE kind = ? ORDER BY n`, func(rows *sql.Rows) error {
		var id, digest string
		err := rows.Scan(&id, &digest)
		if committed[id] && digest != c.journal.digests[tokenOf(id)] {
			c.add(violation{"altered", fmt.Sprintf("parcel %s is not what was sent", id), "parcel", id, 0})
		}
		return err
	}, "parcel")
}

// checkNotices: none has two effects, and where the broker keeps what it has confirmed each
// has one.
func (c *checker) checkNotices(ctx context.Context) error {
	must := c.notices
	if !c.trusted {
		must = nil
	}
	applied, err := c.checkOnce(ctx, "notice", c.notices, must)
	c.Applied += applied
	if !c.trusted {
		c.Unkept = int64(len(c.notices)) - applied
	}
	return err
}

// checkAudit: the topic's second consumer has each state of a public order once.
func (c *checker) checkAudit(ctx context.Context) error {
	public := map[string]bool{}
	for s := range c.states {
		if isPublic(s.id) {
			public[auditRef(s)] = true
		}
	}
	_, err := c.checkOnce(ctx, auditGroup, public, public)
	return err
}

// checkOnce returns how many of those that were committed have an effect; some of them must.
func (c *checker) checkOnce(ctx context.Context, kind string, committed, must map[string]bool) (applied int64, err error) {
	seen := make(map[string]bool, len(committed))
	err = c.consumerDB.each(ctx, `SELECT ref FROM {effect} WHERE kind = ? ORDER BY n`, func(rows *sql.Rows) error {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		switch {
		case !committed[id]:
			c.add(violation{"phantom", fmt.Sprintf("%s %s took effect and was never committed", kind, id), kind, id, 0})
		case seen[id]:
			c.add(violation{"doubled", fmt.Sprintf("%s %s took effect twice", kind, id), kind, id, 0})
		default:
			applied++
		}
		seen[id] = true
		return nil
	}, kind)
	if err != nil {
		return applied, err
	}
	for _, id := range slices.Sorted(maps.Keys(must)) {
		if !seen[id] {
			c.add(violation{"lost", fmt.Sprintf("%s %s was committed and took no effect", kind, id), kind, id, 0})
		}
	}
	return applied, nil
}

// orderEffect is a state of an order as it took effect at a consumer.
type orderEffect struct {
	state
	group               string // of the consumer
	token               string
	sequence, timeStamp int64
}

// orderHistory is what has taken effect so far.
type orderHistory struct {
	seen   map[state]bool
	newest map[string]orderEffect // by order
}

// checkOrders: no state takes effect twice and none after a newer one, and the newest one
// is there at the end.
func (c *checker) checkOrders(ctx context.Context) error {
	h := orderHistory{make(map[state]bool, len(c.states)), map[string]orderEffect{}}
	err := c.consumerDB.each(ctx, `SELECT kind, ref, version, token, sequence, time_stamp FROM {effect} WHERE kind IN (?, ?) ORDER BY n`, func(rows *sql.Rows) error {
		var e orderEffect
		if err := rows.Scan(&e.group, &e.id, &e.version, &e.token, &e.sequence, &e.timeStamp); err != nil {
			return err
		}
		if check, text := c.checkOrderEffect(e, &h); check != "" {
			c.add(violation{check, fmt.Sprintf("version %d of %s %s", e.version, e.id, text), e.group, e.id, e.version})
		}
		h.seen[e.state] = true
		if e.version > h.newest[e.id].version {
			h.newest[e.id] = e
		}
		return nil
	}, latestGroup, mirrorGroup)
	if err != nil {
		return err
	}
	for s := range c.states {
		if h.seen[s] {
			c.Applied++
		} else if s.version < h.newest[s.id].version {
			c.Superseded++
		}
	}
	return c.checkLatest(ctx, &h)
}

// checkOrderEffect returns which check an effect does not pass, after those before it, and
// what is wrong; "" for none.
func (c *checker) checkOrderEffect(e orderEffect, h *orderHistory) (check, text string) {
	newest := h.newest[e.id]
	token, committed := c.states[e.state]
	switch {
	case !committed || token != e.token:
		return "phantom", fmt.Sprintf("(transaction %s) took effect and was never committed", e.token)
	case e.group != keeperOf(e.id):
		return "phantom", "took effect at " + e.group + ", to which it was not sent"
	case h.seen[e.state]:
		return "doubled", "took effect twice"
	case e.version < newest.version:
		return "stale", fmt.Sprintf("took effect after version %d", newest.version)
	case e.timeStamp <= newest.timeStamp:
		return "sequence", fmt.Sprintf("has the time stamp %d, and an older one %d", e.timeStamp, newest.timeStamp)
	}
	return "", ""
}

// checkLatest: each order is at the consumer what it is at the producer.
func (c *checker) checkLatest(ctx context.Context, h *orderHistory) error {
	latest := map[string]int64{}
	err := c.consumerDB.each(ctx, `SELECT id, version FROM {consumer_order}`, func(rows *sql.Rows) error {
		var s state
		err := rows.Scan(&s.id, &s.version)
		latest[s.id] = s.version
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(c.newest)) {
		want, have := c.newest[id], latest[id]
		if have > want {
			c.add(violation{"phantom", fmt.Sprintf("the consumer holds version %d of %s, and the newest one is %d", have, id, want), keeperOf(id), id, have})
		}
		// What is held and what took effect were written in one transaction.
		if have = min(have, h.newest[id].version); have < want {
			c.add(violation{"lost", fmt.Sprintf("version %d of %s was committed, and the consumer has version %d", want, id, have), keeperOf(id), id, want})
		}
	}
	return nil
}

// checkAccounts: both sides hold the same, and no money was made or lost.
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
		if theirs[id] != ours[id] {
			c.add(violation{check: "conservation", text: fmt.Sprintf("%s holds %d at the producer and %d at the consumer", id, theirs[id], ours[id])})
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

// checkJournals compares what the producers know with what their database has.
func (c *checker) checkJournals() {
	for _, token := range slices.Sorted(maps.Keys(c.journal.fates)) {
		switch f := c.journal.fates[token]; {
		case f == committed && !c.tokens[token]:
			c.add(violation{check: "unsaved", text: fmt.Sprintf("transaction %s was committed, and its database does not have it", token)})
		case f == rolledBack && c.tokens[token]:
			c.add(violation{check: "phantom", text: fmt.Sprintf("transaction %s was rolled back, and its database has it", token)})
		case f == rolledBack:
			c.RolledBack++
		case f == unknown || f == begun:
			c.Unknown++
		}
	}
	for token := range c.tokens {
		if _, known := c.journal.fates[token]; !known {
			c.add(violation{check: "phantom", text: fmt.Sprintf("the database has transaction %s, for which its producer never sent a COMMIT", token)})
		}
	}
}
