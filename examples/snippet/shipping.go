package snippet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/store/postgres"
)

// ServeShipping is the shipping service: it handles the orders' messages until ctx ends.
func ServeShipping(ctx context.Context, db *sql.DB, brk broker.Broker) error {
	in, err := inbox.New(db, postgres.Dialect(), brk, &inbox.Options{Consumer: "shipping"})
	if err != nil {
		return err
	}
	in.Handle("orders", waybill.Latest, KeepState)
	return in.Run(ctx)
}

// KeepState writes an order's state. What it writes with tx commits together with the
// record of the message, so that no copy and no older state is written over it.
func KeepState(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO shipments (order_id, state) VALUES ($1, $2)
		ON CONFLICT (order_id) DO UPDATE SET state = excluded.state`, m.Key, string(m.Body))
	return err
}

// KeepAll is KeepState for all new messages of a transaction at once, with one statement:
// in.HandleBatch("orders", waybill.Latest, KeepAll).
func KeepAll(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
	var query strings.Builder
	query.WriteString(`INSERT INTO shipments (order_id, state) VALUES `)
	var args []any
	var faults []error
	for i, m := range messages {
		if len(m.Body) == 0 {
			faults = append(faults, inbox.Failed(m, waybill.Permanent(errors.New("an order without a state"))))
		}
		if i > 0 {
			query.WriteString(`, `)
		}
		fmt.Fprintf(&query, `($%d, $%d)`, 2*i+1, 2*i+2)
		args = append(args, m.Key, string(m.Body))
	}
	if len(faults) > 0 {
		return errors.Join(faults...) // these are rejected, and it is called with the others
	}
	query.WriteString(` ON CONFLICT (order_id) DO UPDATE SET state = excluded.state`)
	_, err := tx.ExecContext(ctx, query.String(), args...)
	return err // of no message by name: the one that makes it fail is found
}

// errAway is an address that is not there today.
var errAway = errors.New("nobody is at home")

// Deliver says with its error what is to become of the message.
func Deliver(_ context.Context, _ *sql.Tx, _ *waybill.Message, o Order) error {
	switch o.Item {
	case "":
		return waybill.Permanent(errors.New("an order without an item")) // rejected; a person decides
	case "piano":
		return waybill.RetryAfter(24*time.Hour, errAway) // tomorrow; that is no failure
	case "fog":
		return errAway // tried again with growing delays, and rejected after MaxTries
	}
	return nil // done
}

// Kinds has each kind of event on one queue go to a handler of its own.
func Kinds(placed, cancelled inbox.Handler) inbox.Handler {
	return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		switch kind := m.Headers["kind"]; kind {
		case "placed":
			return placed(ctx, tx, m)
		case "cancelled":
			return cancelled(ctx, tx, m)
		default:
			return waybill.Permanent(errors.New("no handler for the kind " + kind))
		}
	}
}

// Logged is a middleware: in.Use(Logged(log)) puts it around every handler.
func Logged(log *slog.Logger) func(next inbox.Handler) inbox.Handler {
	return func(next inbox.Handler) inbox.Handler {
		return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			began := time.Now()
			err := next(ctx, tx, m)
			log.DebugContext(ctx, "handled", slog.String("destination", m.Destination),
				slog.Any("id", m.ID), slog.Duration("took", time.Since(began)), slog.Any("error", err))
			return err
		}
	}
}
