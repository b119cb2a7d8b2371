package demo

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/address"
)

// soundDatabases are as a demo without faults leaves them: two orders, one of which is
// delivered while its state "shipped" was overtaken, and their payments.
func soundDatabases(t *testing.T) (orders, shipping *sql.DB) {
	t.Helper()
	open := func(name string) *sql.DB {
		db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		if name == "orders.db" {
			_, err = newOrderService(t.Context(), db, dialect)
		} else {
			err = createShipping(t.Context(), db, dialect)
		}
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	orders, shipping = open("orders.db"), open("shipping.db")
	do(t, orders, `
INSERT INTO orders VALUES ('A', 3, 'delivered', '1 Elm Street', 500), ('B', 1, 'placed', '2 Mill Lane', 700);
INSERT INTO journal (message_id, destination, order_id, version, state, address, amount) VALUES
	('a1', 'orders', 'A', 1, 'placed', '1 Elm Street', 0), ('pa', 'payments', 'A', 0, '', '', 500),
	('b1', 'orders', 'B', 1, 'placed', '2 Mill Lane', 0), ('pb', 'payments', 'B', 0, '', '', 700),
	('a2', 'orders', 'A', 2, 'shipped', '1 Elm Street', 0), ('a3', 'orders', 'A', 3, 'delivered', '1 Elm Street', 0)`)
	do(t, shipping, `
INSERT INTO shipments VALUES ('A', 3, 'delivered', '1 Elm Street'), ('B', 1, 'placed', '2 Mill Lane');
UPDATE account SET balance = 1200;
INSERT INTO history (message_id, destination, order_id, version, state, address, amount) VALUES
	('a1', 'orders', 'A', 1, 'placed', '1 Elm Street', 0), ('pb', 'payments', 'B', 0, '', '', 700),
	('b1', 'orders', 'B', 1, 'placed', '2 Mill Lane', 0), ('a3', 'orders', 'A', 3, 'delivered', '1 Elm Street', 0),
	('pa', 'payments', 'A', 0, '', '', 500)`)
	return orders, shipping
}

func do(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

const again = `INSERT INTO history (message_id, destination, order_id, version, state, address, amount) `

func TestTheVerdictNamesEachKindOfViolation(t *testing.T) {
	type counts struct{ sent, applied, superseded, lost, doubled, stale, phantom, leftover int64 }
	sound := counts{sent: 6, applied: 5, superseded: 1}
	cases := []struct {
		name             string
		orders, shipping string // what is planted
		want             counts
		violation        string // a part of the first one
	}{
		{name: "nothing is wrong", want: sound},
		{
			name:      "a payment was never booked",
			shipping:  `DELETE FROM history WHERE message_id = 'pa'; UPDATE account SET balance = 700`,
			want:      counts{sent: 6, applied: 4, superseded: 1, lost: 1},
			violation: "lost: the payment of order A",
		},
		{
			name: "the newest state never arrived",
			shipping: `DELETE FROM history WHERE message_id = 'a3';
				UPDATE shipments SET version = 1, state = 'placed' WHERE order_id = 'A'`,
			want:      counts{sent: 6, applied: 4, lost: 2},
			violation: "lost: version 2 (shipped) of order A",
		},
		{
			name:      "an order never arrived at all",
			shipping:  `DELETE FROM history WHERE message_id = 'b1'; DELETE FROM shipments WHERE order_id = 'B'`,
			want:      counts{sent: 6, applied: 4, superseded: 1, lost: 1},
			violation: "lost: version 1 (placed) of order B",
		},
		{
			name:      "a shipment is gone",
			shipping:  `DELETE FROM shipments WHERE order_id = 'B'`,
			want:      counts{sent: 6, applied: 5, superseded: 1, lost: 1},
			violation: "lost: order B has no shipment",
		},
		{
			name:      "a newer state was never sent",
			orders:    `UPDATE orders SET version = 2, state = 'shipped' WHERE id = 'B'`,
			want:      counts{sent: 6, applied: 5, superseded: 1, stale: 1},
			violation: "stale: order B is at version 2 (shipped), its shipment at version 1 (placed)",
		},
		{
			name:      "a payment was booked twice",
			shipping:  again + `SELECT message_id, destination, order_id, version, state, address, amount FROM history WHERE message_id = 'pa'; UPDATE account SET balance = 1700`,
			want:      counts{sent: 6, applied: 5, superseded: 1, doubled: 1},
			violation: "doubled: the payment of order A (pa) took effect 2 times",
		},
		{
			name:      "a state was applied twice",
			shipping:  again + `SELECT message_id, destination, order_id, version, state, address, amount FROM history WHERE message_id = 'b1'`,
			want:      counts{sent: 6, applied: 5, superseded: 1, doubled: 1},
			violation: "doubled: version 1 (placed) of order B",
		},
		{
			name: "an older state overwrote a newer one",
			shipping: again + `VALUES ('a2', 'orders', 'A', 2, 'shipped', '1 Elm Street', 0);
				UPDATE shipments SET version = 2, state = 'shipped' WHERE order_id = 'A'`,
			want:      counts{sent: 6, applied: 6, stale: 1},
			violation: "stale: version 2 (shipped) of order A (a2) overwrote version 3",
		},
		{
			name:      "a shipment is older than its history",
			shipping:  `UPDATE shipments SET version = 2, state = 'shipped' WHERE order_id = 'A'`,
			want:      counts{sent: 6, applied: 5, superseded: 1, stale: 1},
			violation: "stale: order A is at version 3 (delivered), its shipment at version 2 (shipped)",
		},
		{
			name: "a transaction that was rolled back took effect",
			shipping: again + `VALUES ('c1', 'orders', 'C', 1, 'placed', '3 Harbour Row', 0);
				INSERT INTO shipments VALUES ('C', 1, 'placed', '3 Harbour Row')`,
			want:      counts{sent: 6, applied: 5, superseded: 1, phantom: 1},
			violation: "phantom: version 1 (placed) of order C (c1) took effect and was never committed",
		},
		{
			name: "a change that was rolled back overwrote its order",
			shipping: again + `VALUES ('b2', 'orders', 'B', 2, 'shipped', '2 Mill Lane', 0);
				UPDATE shipments SET version = 2, state = 'shipped' WHERE order_id = 'B'`,
			want:      counts{sent: 6, applied: 5, superseded: 1, phantom: 1},
			violation: "phantom: version 2 (shipped) of order B",
		},
		{
			name:      "a payment that was rolled back was booked",
			shipping:  again + `VALUES ('pc', 'payments', 'C', 0, '', '', 900); UPDATE account SET balance = 2100`,
			want:      counts{sent: 6, applied: 5, superseded: 1, phantom: 1},
			violation: "phantom: the payment of order C",
		},
		{
			name:      "an effect is not what was committed",
			shipping:  `UPDATE history SET amount = 700 WHERE message_id = 'pa'; UPDATE account SET balance = 1400`,
			want:      counts{sent: 6, applied: 5, superseded: 1, phantom: 1},
			violation: "phantom: the payment of order A (pa) took effect as something else",
		},
		{
			name:      "a shipment came from nowhere",
			shipping:  `INSERT INTO shipments VALUES ('D', 1, 'placed', '4 Church Walk')`,
			want:      counts{sent: 6, applied: 5, superseded: 1, phantom: 1},
			violation: "phantom: there is a shipment for order D",
		},
		{
			name:      "a shipment is not what was committed",
			shipping:  `UPDATE shipments SET address = 'elsewhere' WHERE order_id = 'B'`,
			want:      counts{sent: 6, applied: 5, superseded: 1, phantom: 1},
			violation: "phantom: order B is at version 1 (placed)",
		},
		{
			name:      "a row is left in the outbox",
			orders:    `INSERT INTO qmessage (destination, message_content) VALUES ('orders', '{}')`,
			want:      counts{sent: 6, applied: 5, superseded: 1, leftover: 1},
			violation: "left over: message",
		},
		{
			name:      "the account does not add up",
			shipping:  `UPDATE account SET balance = 1199`,
			want:      sound,
			violation: "payments of 12.00 were committed, and the account holds 11.99",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			orders, shipping := soundDatabases(t)
			do(t, orders, c.orders)
			do(t, shipping, c.shipping)
			v, err := Check(t.Context(), orders, shipping)
			if err != nil {
				t.Fatal(err)
			}
			if got := (counts{v.Sent, v.Applied, v.Superseded, v.Lost, v.Doubled, v.Stale, v.Phantom, v.Leftover}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if v.OK() != (c.violation == "") {
				t.Errorf("got OK: %v, want %v", v.OK(), !v.OK())
			}
			switch {
			case c.violation == "" && len(v.Violations) > 0:
				t.Errorf("got violations %q, want none", v.Violations)
			case c.violation != "" && (len(v.Violations) == 0 || !strings.Contains(v.Violations[0], c.violation)):
				t.Errorf("got violations %q, want %q first", v.Violations, c.violation)
			}
		})
	}
}

func TestOnlyTheFirstViolationsAreNamed(t *testing.T) {
	orders, shipping := soundDatabases(t)
	for i := range 3 * maxViolations {
		do(t, shipping, fmt.Sprintf(`INSERT INTO shipments VALUES ('X%d', 1, 'placed', '')`, i))
	}
	v, err := Check(t.Context(), orders, shipping)
	if err != nil {
		t.Fatal(err)
	}
	if v.Phantom != 3*maxViolations || len(v.Violations) != maxViolations {
		t.Errorf("got %d phantoms and %d violations, want %d and %d", v.Phantom, len(v.Violations), 3*maxViolations, maxViolations)
	}
}
