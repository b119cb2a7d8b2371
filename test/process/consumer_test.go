package process

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
)

// The consumer's own tables. They take every effect that comes, also one that came
// before or is stale: the inbox alone keeps those away.
const consumerTables = `
CREATE TABLE payment_effects (n bigserial PRIMARY KEY, id text NOT NULL);
CREATE TABLE order_effects (n bigserial PRIMARY KEY, id text NOT NULL, version bigint NOT NULL, token text NOT NULL);
CREATE TABLE order_state (id text PRIMARY KEY, version bigint NOT NULL, token text NOT NULL);`

// consumerMain is the consumer's process, until SIGTERM, or SIGKILL. It returns the exit
// status.
func consumerMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := runConsumer(ctx); err != nil {
		slog.Error("consumer failed", slog.Any("error", err))
		return 1
	}
	return 0
}

func runConsumer(ctx context.Context) error {
	db, dialect, err := address.OpenDatabase(os.Getenv("WAYBILL_DB"))
	if err != nil {
		return err
	}
	defer db.Close()
	b, err := address.OpenBroker(os.Getenv("WAYBILL_BROKER"))
	if err != nil {
		return err
	}
	in, err := inbox.New(db, dialect, b, &inbox.Options{Consumer: "consumer", Batch: 50})
	if err != nil {
		return err
	}
	in.Handle(os.Getenv("PAYMENTS"), waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO payment_effects (id) VALUES ($1)`, string(m.Body))
		return err
	})
	in.Handle(os.Getenv("ORDERS"), waybill.Latest, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		var version int64
		var token string
		if _, err := fmt.Sscanf(string(m.Body), "%d %s", &version, &token); err != nil {
			return waybill.Permanent(err)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO order_effects (id, version, token) VALUES ($1, $2, $3)`, m.Key, version, token)
		if err == nil {
			_, err = tx.ExecContext(ctx, `
				INSERT INTO order_state VALUES ($1, $2, $3)
				ON CONFLICT (id) DO UPDATE SET version = excluded.version, token = excluded.token`, m.Key, version, token)
		}
		return err
	})
	err = in.Run(ctx)
	slog.InfoContext(ctx, "consumer stopped", slog.Any("stats", in.Stats()))
	return err
}
