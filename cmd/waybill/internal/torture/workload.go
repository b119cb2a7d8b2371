package torture

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// payload is a message's body.
type payload struct {
	Token   string `json:"token"` // of the transaction
	Order   string `json:"order,omitempty"`
	Version int64  `json:"version,omitempty"`

	Notice string `json:"notice,omitempty"`
	Due    int64  `json:"due,omitempty"` // µs since the Unix epoch: not before that; 0 at once

	Transfer string `json:"transfer,omitempty"`
	Source   string `json:"source,omitempty"`
	Target   string `json:"target,omitempty"`
	Amount   int64  `json:"amount,omitempty"`

	Errand string `json:"errand,omitempty"`

	Foreign string `json:"foreign,omitempty"` // a foreign producer's name of it
	Fails   int    `json:"fails,omitempty"`   // so often, in each process
	GivesUp bool   `json:"gives_up,omitempty"`

	Parcel string `json:"-"` // a parcel's body is none of this
	Digest string `json:"-"`
}

const (
	hotOrders   = 4 // of all orders these few get
	hotOneIn    = 2 // of so many changes one, besides their share of the others
	noticeOneIn = 4 // of so many transactions one has a notice

	delayOneIn = 25              // of so many messages one is delayed,
	leastDelay = time.Second     // at least by so much
	mostDelay  = 3 * time.Second // and at most
)

// change changes some orders and moves some money, and sends a message of each. All
// workers lock what they change in one order, so that they cannot deadlock.
func (w *worker) change(ctx context.Context, tx *sql.Tx, token string) error {
	if w.cmd.Foreign {
		return w.writeErrand(ctx, tx, token)
	}
	changed := w.chooseOrders()
	transfers := w.dice.IntN(w.cmd.Transfers + 1)
	if len(changed) == 0 {
		transfers = max(transfers, 1)
	}
	var messages []waybill.Message
	for _, id := range changed {
		m, err := w.changeOrder(ctx, tx, id, token)
		if err != nil {
			return err
		}
		messages = append(messages, m)
	}
	moved, err := w.transfer(ctx, tx, transfers, token)
	if err != nil {
		return err
	}
	messages = append(messages, moved...)
	if w.oneIn(noticeOneIn) {
		m, err := w.giveNotice(ctx, tx, token)
		if err != nil {
			return err
		}
		messages = append(messages, m)
	}
	if w.oneIn(parcelOneIn) {
		m, err := w.sendParcel(ctx, tx, token)
		if err != nil {
			return err
		}
		messages = append(messages, m)
	}
	if w.oneIn(errandOneIn) {
		m, err := w.sendErrand(ctx, tx, token)
		if err != nil {
			return err
		}
		messages = append(messages, m)
	}
	return w.out.Send(ctx, tx, messages...)
}

// due is when a message may be sent: mostly at once, which is 0.
func (w *worker) due() int64 {
	if !w.oneIn(delayOneIn) {
		return 0
	}
	return time.Now().Add(between(w.dice, leastDelay, mostDelay)).UnixMicro()
}

// chooseOrders chooses two orders at most, sorted.
func (w *worker) chooseOrders() []string {
	var chosen []string
	for range w.dice.IntN(3) {
		n := w.dice.IntN(orders)
		if w.oneIn(hotOneIn) {
			n = w.dice.IntN(hotOrders)
		}
		chosen = append(chosen, orderName(n, w.cmd.Topic))
	}
	slices.Sort(chosen)
	return slices.Compact(chosen)
}

// changeOrder gives an order a new version, and returns the message of it.
func (w *worker) changeOrder(ctx context.Context, tx *sql.Tx, id, token string) (waybill.Message, error) {
	p := payload{Token: token, Order: id, Due: w.due()}
	_, err := tx.ExecContext(ctx, w.db.sql(`UPDATE {orders} SET version = version + 1 WHERE id = ?`), id)
	if err == nil {
		err = tx.QueryRowContext(ctx, w.db.sql(`SELECT version FROM {orders} WHERE id = ?`), id).Scan(&p.Version)
	}
	m := w.message(w.cmd.Destinations.Orders, id, p)
	if isPublic(id) {
		m.Destination, m.Topic = w.cmd.Destinations.Public, true
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, w.db.sql(`INSERT INTO {order_state} (id, version, token, message_id) VALUES (?, ?, ?, ?)`), id, p.Version, token, m.ID.String())
	}
	return m, err
}

// transfer moves money n times, and returns a message of each move.
func (w *worker) transfer(ctx context.Context, tx *sql.Tx, n int, token string) ([]waybill.Message, error) {
	moves := make([]payload, n)
	deltas := map[string]int64{}
	for i := range moves {
		from := w.dice.IntN(accounts)
		to := (from + 1 + w.dice.IntN(accounts-1)) % accounts
		moves[i] = payload{
			Token: token, Due: w.due(), Transfer: fmt.Sprintf("%s-%d", token, i),
			Source: accountName(from), Target: accountName(to), Amount: 1 + w.dice.Int64N(100),
		}
		deltas[moves[i].Source] -= moves[i].Amount
		deltas[moves[i].Target] += moves[i].Amount
	}
	if err := w.db.move(ctx, tx, "account", deltas); err != nil {
		return nil, err
	}
	var messages []waybill.Message
	var values []any
	for _, p := range moves {
		m := w.message(w.cmd.Destinations.Transfers, "", p)
		if w.oneIn(2) {
			m.Destination = w.cmd.Destinations.Quick
		}
		values = append(values, p.Transfer, p.Source, p.Target, p.Amount, m.ID.String())
		messages = append(messages, m)
	}
	if n == 0 {
		return nil, nil
	}
	insert := `INSERT INTO {transfer} (id, source, target, amount, message_id) VALUES ` + placeholders(n, "(?, ?, ?, ?, ?)")
	_, err := tx.ExecContext(ctx, w.db.sql(insert), values...)
	return messages, err
}

func (w *worker) giveNotice(ctx context.Context, tx *sql.Tx, token string) (waybill.Message, error) {
	p := payload{Token: token, Notice: token + "-notice"}
	m := w.message(w.cmd.Destinations.Notices, "", p)
	_, err := tx.ExecContext(ctx, w.db.sql(`INSERT INTO {notice} (id, message_id) VALUES (?, ?)`), p.Notice, m.ID.String())
	return m, err
}

// message makes a message whose id is of the clock that this process has, and of the time
// when it is due.
func (w *worker) message(to, key string, p payload) waybill.Message {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers
	}
	m := waybill.Message{Destination: to, Key: key, Body: body}
	at := time.Now()
	if p.Due != 0 {
		at = time.UnixMicro(p.Due)
		m.NotBefore = at
	}
	m.ID = waybill.NewIDAt(at.Add(w.cmd.Skew))
	return m
}

// move changes balances, in the accounts' order.
func (d *database) move(ctx context.Context, tx *sql.Tx, table string, deltas map[string]int64) error {
	for _, id := range slices.Sorted(maps.Keys(deltas)) {
		if _, err := tx.ExecContext(ctx, d.sql(`UPDATE {`+table+`} SET balance = balance + ? WHERE id = ?`), deltas[id], id); err != nil {
			return err
		}
	}
	return nil
}
