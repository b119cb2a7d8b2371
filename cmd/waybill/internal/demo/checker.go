package demo

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/waybill-go/waybill/cmd/waybill/internal/verdict"
)

// Verdict is what comparing the two databases says: what the order service has
// committed, by its own journal, beside what the shipping service has applied, by
// its own history. No counter of Waybill's goes into it.
type Verdict struct {
	Sent       int64 // messages committed
	Applied    int64 // of these, with an effect
	Superseded int64 // without one, rightly: a newer state of their order has taken effect

	Lost     int64 // committed, without an effect, and no newer state in its place
	Doubled  int64 // with more than one effect
	Stale    int64 // effects that overwrote a newer state
	Phantom  int64 // effects of nothing that was ever committed
	Leftover int64 // rows still in the outbox

	Charged, Booked int64 // the payments' sums, in cents: committed, and in the account

	Violations []string // the first ones, one by one
}

// OK reports whether nothing is wrong.
func (v *Verdict) OK() bool {
	return v.Lost+v.Doubled+v.Stale+v.Phantom+v.Leftover == 0 && v.Charged == v.Booked
}

// maxViolations bounds the violations that are named one by one.
const maxViolations = 10

func (v *Verdict) add(count *int64, format string, args ...any) {
	*count++
	v.note(format, args...)
}

func (v *Verdict) note(format string, args ...any) {
	if len(v.Violations) < maxViolations {
		v.Violations = append(v.Violations, fmt.Sprintf(format, args...))
	}
}

// entry is a line of the journal or of the history.
type entry struct {
	id          string
	destination string
	orderState
	amount int64
}

// what is the message of an entry, for a person.
func (e *entry) what() string {
	if e.destination == toPayments {
		return fmt.Sprintf("the payment of order %s (%s)", e.Order, e.id)
	}
	return fmt.Sprintf("version %d (%s) of order %s (%s)", e.Version, e.State, e.Order, e.id)
}

// checker compares the two databases.
type checker struct {
	Verdict
	orders    map[string]orderState // as the order service has them
	shipments map[string]orderState // as the shipping service has them
	journal   []entry
	history   []entry
	broken    map[string]bool // orders of which a violation is known already
}

// Check compares the order service's database with the shipping service's. Both
// should be at rest.
func Check(ctx context.Context, orders, shipping *sql.DB) (*Verdict, error) {
	c := &checker{broken: map[string]bool{}}
	if err := c.read(ctx, orders, shipping); err != nil {
		return nil, fmt.Errorf("compare the databases: %w", err)
	}
	committed := make(map[string]*entry, len(c.journal))
	for i := range c.journal {
		committed[c.journal[i].id] = &c.journal[i]
	}
	effects := c.checkEffects(committed)
	newest := c.checkOrder(committed)
	c.checkMessages(effects, newest)
	c.checkShipments()
	if c.Charged != c.Booked {
		c.note("payments of %s were committed, and the account holds %s", money(c.Charged), money(c.Booked))
	}
	return &c.Verdict, nil
}

// checkEffects looks for effects that should not be, and counts the others by
// message.
func (c *checker) checkEffects(committed map[string]*entry) map[string]int {
	effects := make(map[string]int, len(c.history))
	for i := range c.history {
		e := &c.history[i]
		if effects[e.id]++; effects[e.id] > 1 {
			continue
		}
		switch origin := committed[e.id]; {
		case origin == nil:
			c.add(&c.Phantom, "phantom: %s took effect and was never committed", e.what())
			c.broken[e.Order] = true
		case *origin != *e:
			c.add(&c.Phantom, "phantom: %s took effect as something else: %s", origin.what(), e.what())
			c.broken[e.Order] = true
		}
	}
	for i := range c.journal {
		if n := effects[c.journal[i].id]; n > 1 {
			c.add(&c.Doubled, "doubled: %s took effect %d times", c.journal[i].what(), n)
		}
	}
	return effects
}

// checkOrder looks for older states that overwrote newer ones, and returns the
// newest version of each order that took effect.
func (c *checker) checkOrder(committed map[string]*entry) map[string]int64 {
	newest := map[string]int64{}
	for i := range c.history {
		e := &c.history[i]
		if e.destination != toOrders || committed[e.id] == nil {
			continue
		}
		if e.Version < newest[e.Order] {
			c.add(&c.Stale, "stale: %s overwrote version %d", e.what(), newest[e.Order])
			c.broken[e.Order] = true
		}
		newest[e.Order] = max(newest[e.Order], e.Version)
	}
	return newest
}

// checkMessages looks for committed messages that had no effect and should have had
// one.
func (c *checker) checkMessages(effects map[string]int, newest map[string]int64) {
	for i := range c.journal {
		e := &c.journal[i]
		c.Sent++
		c.Charged += e.amount
		switch {
		case effects[e.id] > 0:
			c.Applied++
		case e.destination == toOrders && newest[e.Order] > e.Version:
			c.Superseded++
		default:
			c.add(&c.Lost, "lost: %s was committed and never took effect", e.what())
			c.broken[e.Order] = c.broken[e.Order] || e.destination == toOrders
		}
	}
}

// checkShipments compares each order with its shipment. A difference that has been
// explained is not counted again.
func (c *checker) checkShipments() {
	for _, id := range slices.Sorted(maps.Keys(c.orders)) {
		order := c.orders[id]
		shipment, shipped := c.shipments[id]
		switch {
		case c.broken[id] || shipment == order:
		case !shipped:
			c.add(&c.Lost, "lost: order %s has no shipment", id)
		case shipment.Version < order.Version:
			c.add(&c.Stale, "stale: order %s is at version %d (%s), its shipment at version %d (%s)", id, order.Version, order.State, shipment.Version, shipment.State)
		default:
			c.add(&c.Phantom, "phantom: order %s is at version %d (%s), its shipment at version %d (%s)", id, order.Version, order.State, shipment.Version, shipment.State)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.shipments)) {
		if _, known := c.orders[id]; !known && !c.broken[id] {
			c.add(&c.Phantom, "phantom: there is a shipment for order %s, which does not exist", id)
		}
	}
}

// read reads both databases.
func (c *checker) read(ctx context.Context, orders, shipping *sql.DB) error {
	var err error
	if c.orders, err = readStates(ctx, orders, `SELECT id, version, state, address FROM orders`); err != nil {
		return err
	}
	if c.shipments, err = readStates(ctx, shipping, `SELECT order_id, version, state, address FROM shipments`); err != nil {
		return err
	}
	const entries = `SELECT message_id, destination, order_id, version, state, address, amount FROM `
	if c.journal, err = readEntries(ctx, orders, entries+`journal ORDER BY n`); err != nil {
		return err
	}
	if c.history, err = readEntries(ctx, shipping, entries+`history ORDER BY n`); err != nil {
		return err
	}
	if err := shipping.QueryRowContext(ctx, `SELECT balance FROM account`).Scan(&c.Booked); err != nil {
		return err
	}
	return verdict.EachRow(ctx, orders, `SELECT message_id, destination, status, retry, coalesce(last_error, '') FROM qmessage ORDER BY id`, func(rows *sql.Rows) error {
		var id, destination, reason string
		var status, copies int
		if err := rows.Scan(&id, &destination, &status, &copies, &reason); err != nil {
			return err
		}
		c.add(&c.Leftover, "left over: message %s to %s: status %d, %d copies sent again, last error %q", id, destination, status, copies, reason)
		return nil
	})
}

func readStates(ctx context.Context, db *sql.DB, query string) (map[string]orderState, error) {
	found := map[string]orderState{}
	err := verdict.EachRow(ctx, db, query, func(rows *sql.Rows) error {
		var s orderState
		if err := rows.Scan(&s.Order, &s.Version, &s.State, &s.Address); err != nil {
			return err
		}
		found[s.Order] = s
		return nil
	})
	return found, err
}

func readEntries(ctx context.Context, db *sql.DB, query string) ([]entry, error) {
	var found []entry
	err := verdict.EachRow(ctx, db, query, func(rows *sql.Rows) error {
		var e entry
		err := rows.Scan(&e.id, &e.destination, &e.Order, &e.Version, &e.State, &e.Address, &e.amount)
		found = append(found, e)
		return err
	})
	return found, err
}
