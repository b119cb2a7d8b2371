// Package snippet is the code that the pages show, as a service would have it: what stands
// in a page is compared with it, and its tests run it.
//
// The files: service.go (the order service), shipping.go (the shipping service), pool.go
// (databases and brokers).
package snippet

import (
	"context"
	"database/sql"
	"maps"
	"strconv"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
)

// Order is what is placed, and what travels.
type Order struct {
	ID   int64  `json:"id"`
	Item string `json:"item"`
}

// Service is the order service.
type Service struct {
	db     *sql.DB
	out    *outbox.Outbox
	tenant string
}

// NewService makes the outbox's tables in the service's database, unless they are there, and
// an outbox. The dialect is postgres.Dialect(), mysql.Dialect() or sqlite.Dialect(), of the
// packages of these names below github.com/waybill-go/waybill/store.
func NewService(ctx context.Context, db *sql.DB, dialect store.Dialect) (*Service, error) {
	if err := store.Migrate(ctx, db, dialect, "", store.Producer); err != nil {
		return nil, err
	}
	out, err := outbox.New(dialect, nil)
	if err != nil {
		return nil, err
	}
	return &Service{db: db, out: out}, nil
}

// Ship changes an order's state and tells of it: both commit together, or neither.
func (s *Service) Ship(ctx context.Context, order string) error {
	return s.out.InTx(ctx, s.db, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE orders SET state = 'shipped' WHERE id = $1`, order); err != nil {
			return err
		}
		return s.out.Send(ctx, tx, waybill.Message{Destination: "orders", Key: order, Body: []byte("shipped")})
	})
}

// Place inserts an order and sends it, in a transaction that its caller begins and ends.
func (s *Service) Place(ctx context.Context, tx *sql.Tx, o Order) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO orders (id, item, state) VALUES ($1, $2, 'placed')`, o.ID, o.Item); err != nil {
		return err
	}
	m, err := waybill.JSON("orders", strconv.FormatInt(o.ID, 10), o)
	if err != nil {
		return err
	}
	return s.send(ctx, tx, m)
}

// send is Send with the headers that every message of this service has.
func (s *Service) send(ctx context.Context, tx *sql.Tx, m waybill.Message) error {
	headers := map[string]string{"tenant": s.tenant}
	maps.Copy(headers, m.Headers) // a value that the caller sets counts
	m.Headers = headers
	return s.out.Send(ctx, tx, m)
}

// Remind has a message delivered three days from now, if the transaction commits.
func (s *Service) Remind(ctx context.Context, tx *sql.Tx, order string) error {
	return s.out.Send(ctx, tx, waybill.Message{
		Destination: "reminders", Key: order, NotBefore: time.Now().Add(3 * 24 * time.Hour),
	})
}
