package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// notifying is SQLite's dialect with a notification, which SQLite has none of: it
// wakes nobody, and a process can die at it.
type notifying struct{ store.Dialect }

func (notifying) Notify(store.Names) store.Statement { return store.Statement{SQL: `SELECT 1`} }

const transactions = 3 // of a wave

var errChangedMind = errors.New("changed my mind")

// produce commits the waves that there are to be and are not yet. Each transaction
// notes itself among its own changes, so that the next life goes on where this one
// ended; each wave begins with one that is rolled back.
func (p *part) produce(ctx context.Context) error {
	out, err := outbox.New(notifying{sqlite.Dialect()}, nil)
	if err != nil {
		return err
	}
	for wave := 1; wave <= p.waves; wave++ {
		for n := range transactions {
			var done bool
			if err := p.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM progress WHERE wave = ? AND n = ?)`, wave, n).Scan(&done); err != nil {
				return err
			}
			if done {
				continue
			}
			for _, doomed := range []bool{true, false} {
				err := out.InTx(ctx, p.db, func(tx *sql.Tx) error {
					messages, err := p.change(ctx, tx, wave, n)
					if err == nil {
						err = out.Send(ctx, tx, messages...)
					}
					if err == nil && doomed {
						return errChangedMind
					}
					return err
				})
				if doomed != errors.Is(err, errChangedMind) || err != nil && !doomed {
					return fmt.Errorf("transaction %d of wave %d: %w", n, wave, err)
				}
			}
		}
	}
	return p.notifies(ctx, out)
}

// notifies has the relays notified once more, on a connection of its own: what InTx does
// in the background may not have come to it when the process ends.
func (p *part) notifies(ctx context.Context, out *outbox.Outbox) error {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	select {
	case <-time.After(30 * time.Millisecond): // relays are notified once in 20 ms at most
	case <-ctx.Done():
	}
	out.Wake(ctx, conn)
	return nil
}

// change is a business change: two payments, and the next state of two orders.
// Tokens tell what was committed from what was rolled back.
func (p *part) change(ctx context.Context, tx *sql.Tx, wave, n int) ([]waybill.Message, error) {
	token := waybill.NewID().String()
	if _, err := tx.ExecContext(ctx, `INSERT INTO progress VALUES (?, ?)`, wave, n); err != nil {
		return nil, err
	}
	var messages []waybill.Message
	for i := range 2 {
		id := fmt.Sprintf("%d-%d-%d-%s", wave, n, i, token)
		if _, err := tx.ExecContext(ctx, `INSERT INTO payments VALUES (?)`, id); err != nil {
			return nil, err
		}
		messages = append(messages, waybill.Message{Destination: "payments", Body: []byte(id)})
	}
	for _, order := range []string{"a", "b"} {
		var version int
		err := tx.QueryRowContext(ctx, `INSERT INTO order_states SELECT ?, coalesce(max(version), 0) + 1, ? FROM order_states WHERE id = ? RETURNING version`, order, token, order).Scan(&version)
		if err != nil {
			return nil, err
		}
		messages = append(messages, waybill.Message{Destination: "orders", Key: order, Body: []byte(strconv.Itoa(version) + " " + token)})
	}
	if p.rough && n == 1 {
		// As where another session has a block of ids.
		if _, err := tx.ExecContext(ctx, `UPDATE sqlite_sequence SET seq = seq + 100 WHERE name = 'qmessage'`); err != nil {
			return nil, err
		}
	}
	if p.rough && n == 0 {
		if _, err := tx.ExecContext(ctx, `INSERT INTO troubles VALUES (?)`, "retry "+token); err != nil {
			return nil, err
		}
		messages = append(messages,
			waybill.Message{Destination: "trouble", Body: []byte("retry " + token)},
			waybill.Message{Destination: "trouble", Body: []byte("reject " + token)})
		for i := range 8 {
			id := fmt.Sprintf("%d %s", i, token)
			if _, err := tx.ExecContext(ctx, `INSERT INTO news VALUES (?)`, id); err != nil {
				return nil, err
			}
			messages = append(messages, waybill.Message{Destination: "news", Topic: true, Body: []byte(id)})
		}
	}
	return messages, nil
}
