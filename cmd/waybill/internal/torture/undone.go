package torture

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"

	"github.com/waybill-go/waybill/cmd/waybill/internal/verdict"
)

// change is a state of an order by the transaction that has made it. Where the producers'
// database was restored, versions come twice, under other transactions.
type change struct {
	state
	token string
}

// move is money that a transfer moves.
type move struct {
	source, target string
	amount         int64
}

// committedMessages are those that a database of producers has.
type committedMessages struct {
	transfers map[string]move
	notices   map[string]bool
	parcels   map[string]state // their codes, and numbers among these
	errands   map[string]state // the same
	states    map[change]bool
	tokens    map[string]bool // transactions
}

func newCommitted() *committedMessages {
	return &committedMessages{map[string]move{}, map[string]bool{}, map[string]state{}, map[string]state{}, map[change]bool{}, map[string]bool{}}
}

func (c *committedMessages) count() int {
	return len(c.transfers) + len(c.notices) + len(c.parcels) + len(c.errands) + len(c.states)
}

// add adds what others have.
func (c *committedMessages) add(others *committedMessages) {
	maps.Copy(c.transfers, others.transfers)
	maps.Copy(c.notices, others.notices)
	maps.Copy(c.parcels, others.parcels)
	maps.Copy(c.errands, others.errands)
	maps.Copy(c.states, others.states)
	maps.Copy(c.tokens, others.tokens)
}

// without returns what some others do not have.
func (c *committedMessages) without(others *committedMessages) *committedMessages {
	rest := newCommitted()
	rest.add(c)
	maps.DeleteFunc(rest.transfers, func(id string, _ move) bool { _, has := others.transfers[id]; return has })
	maps.DeleteFunc(rest.notices, func(id string, _ bool) bool { return others.notices[id] })
	maps.DeleteFunc(rest.parcels, func(id string, _ state) bool { _, has := others.parcels[id]; return has })
	maps.DeleteFunc(rest.errands, func(id string, _ state) bool { _, has := others.errands[id]; return has })
	maps.DeleteFunc(rest.states, func(s change, _ bool) bool { return others.states[s] })
	maps.DeleteFunc(rest.tokens, func(token string, _ bool) bool { return others.tokens[token] })
	return rest
}

// readCommitted reads the messages that the producers' tables have, or the copies of these,
// by what is put before their names.
func (d *database) readCommitted(ctx context.Context, q verdict.Querier, before string) (*committedMessages, error) {
	c := newCommitted()
	for _, x := range []struct {
		query string
		scan  func(*sql.Rows) error
	}{
		{`SELECT id, source, target, amount FROM {` + before + `transfer}`, func(rows *sql.Rows) error {
			var id string
			var m move
			err := rows.Scan(&id, &m.source, &m.target, &m.amount)
			c.transfers[id], c.tokens[tokenOf(id)] = m, true
			return err
		}},
		{`SELECT id FROM {` + before + `notice}`, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			c.notices[id], c.tokens[tokenOf(id)] = true, true
			return err
		}},
		{`SELECT id, code, version FROM {` + before + `parcel}`, func(rows *sql.Rows) error {
			var id string
			var code, version int64
			err := rows.Scan(&id, &code, &version)
			c.parcels[id], c.tokens[tokenOf(id)] = state{parcelKey(code), version}, true
			return err
		}},
		{`SELECT id, code, version FROM {` + before + `errand}`, func(rows *sql.Rows) error {
			var id string
			var code, version int64
			err := rows.Scan(&id, &code, &version)
			c.errands[id], c.tokens[tokenOf(id)] = state{fmt.Sprintf("errand %d", code), version}, true
			return err
		}},
		{`SELECT id, version, token FROM {` + before + `order_state}`, func(rows *sql.Rows) error {
			var s change
			err := rows.Scan(&s.id, &s.version, &s.token)
			c.states[s], c.tokens[s.token] = true, true
			return err
		}},
	} {
		if err := verdict.EachRow(ctx, q, d.sql(x.query), x.scan); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// undone is what restores have taken back. What is promised then:
//
//   - Of the messages that the producers' database still has, nothing changes: they are
//     delivered, those again that were delivered, and take effect once.
//   - Those that it has lost have one effect or none.
//   - Time stamps follow the clock, and not the rows: a state that was committed after a
//     restore is newer than those that were undone by it, though its sequence is not higher.
//     A state that was undone and has taken effect stays at its consumer until the next one
//     comes.
//   - What the consumers' database has lost comes again as far as its row was still there.
//     Nothing more is lost: what had not taken effect by then, does.
type undone struct {
	restores int                 // of the producers' database
	epochs   map[string]int      // of a transaction: the restores before its commit, unless these are all
	messages *committedMessages  // that the producers' database has lost
	effects  map[effectName]bool // that the consumers' database has lost
	keys     map[string]bool     // of these effects: their kinds and effectKeys
}

func newUndone() *undone {
	return &undone{epochs: map[string]int{}, messages: newCommitted(), effects: map[effectName]bool{}, keys: map[string]bool{}}
}

// effectName is what makes an effect another one.
type effectName struct {
	kind, ref string
	version   int64
	token     string
}

// undoneMessages are what one restore of the producers' database has found.
type undoneMessages struct {
	seen map[string]bool // transactions that it had
	gone *committedMessages
}

// place is that of a state in the order of its key: as its consumer has to see it.
type place struct {
	epoch   int
	version int64
}

func (p place) compare(other place) int {
	return cmp.Or(cmp.Compare(p.epoch, other.epoch), cmp.Compare(p.version, other.version))
}

func (p place) before(other place) bool { return p.compare(other) < 0 }

// place is that of a version of some key that a transaction has made.
func (u *undone) place(version int64, token string) place {
	if epoch, early := u.epochs[token]; early {
		return place{epoch, version}
	}
	return place{u.restores, version}
}

// noteUndone adds what a restore of the producers' database undoes.
func (r *run) noteUndone(m undoneMessages) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.undone
	for token := range m.seen {
		if _, known := u.epochs[token]; !known {
			u.epochs[token] = u.restores
		}
	}
	u.restores++
	u.messages.add(m.gone)
}

// noteUndoneEffects adds what a restore of the consumers' database undoes.
func (r *run) noteUndoneEffects(effects []effectName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range effects {
		r.undone.effects[e] = true
		r.undone.keys[e.kind+" "+effectKey(e.kind, e.ref, e.token)] = true
	}
}
